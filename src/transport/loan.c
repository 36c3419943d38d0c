/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All registered memory of a process lies in one file (hk_memory), which the lender publishes on
 * the wire when the first region is attached, and each borrower fetches once. A region is mapped as
 * a whole, read only, at its first loan; later loans find the mapping. A mapping of a region that
 * was freed since does no harm: the file's owner gives the pages back all the same, and lends other
 * regions.
 */
#include "loan.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define PAGE 4096u

int hk_lender_attach(struct hk_lender *l, struct hk_wire *wire, uint32_t tag,
		     const struct hk_memory *m)
{
	int err;

	if (l->nregions == HK_LOAN_REGIONS || m->fd < 0)
		return 0;
	if (!l->published) {
		err = wire->ops->publish(wire, tag, m->fd);
		if (err)
			return err;
		l->published = true;
	}
	l->regions[l->nregions++] = *m;
	return 0;
}

void hk_lender_detach(struct hk_lender *l, const struct hk_memory *m)
{
	for (unsigned i = 0; i < l->nregions; i++) {
		if (l->regions[i].base != m->base || l->regions[i].bytes != m->bytes)
			continue;
		l->regions[i] = l->regions[--l->nregions];
		return;
	}
}

bool hk_lender_find(const struct hk_lender *l, const void *data, size_t bytes, struct hk_loan *loan)
{
	uintptr_t at = (uintptr_t)data;

	for (unsigned i = 0; i < l->nregions; i++) {
		const struct hk_memory *m = &l->regions[i];
		uintptr_t base = (uintptr_t)m->base;

		if (at < base || at - base > m->bytes || bytes > m->bytes - (at - base))
			continue;
		*loan = (struct hk_loan){m->offset, m->bytes, at - base};
		return true;
	}
	return false;
}

static int open_file(struct hk_borrower *b, struct hk_wire *wire, int peer, uint32_t tag)
{
	struct stat st;
	int fd, err;

	err = wire->ops->fetch(wire, peer, tag, &fd);
	if (err)
		return err;
	if (fstat(fd, &st) < 0) {
		err = hk_fail(errno, "rank %d's registered memory can't be used: %s", peer,
			      strerror(errno));
		close(fd);
		return err;
	}
	b->file = fd;
	b->file_bytes = (uint64_t)st.st_size;
	b->open = true;
	return 0;
}

static int __attribute__((cold, noinline))
map(struct hk_borrower *b, struct hk_wire *wire, int peer, uint32_t tag, const struct hk_loan *loan,
    struct hk_loan_map **made)
{
	struct hk_loan_map *m = &b->maps[b->next];
	int err = b->open ? 0 : open_file(b, wire, peer, tag);
	void *base;

	if (err)
		return err;
	if (loan->region > b->file_bytes || loan->region_bytes > b->file_bytes - loan->region ||
	    loan->region % PAGE || !loan->region_bytes)
		return hk_fail(HK_EWIRE,
			       "rank %d lends memory that it does not have; its memory is damaged "
			       "or it runs another version",
			       peer);
	/* Populated now, so that no call later pays for faults. */
	base = mmap(NULL, loan->region_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, b->file,
		    (off_t)loan->region);
	if (base == MAP_FAILED)
		return hk_fail(errno, "mapping %llu bytes of rank %d's memory failed: %s",
			       (unsigned long long)loan->region_bytes, peer, strerror(errno));
	if (m->base)
		munmap(m->base, m->bytes);
	*m = (struct hk_loan_map){loan->region, loan->region_bytes, base};
	b->next = (b->next + 1) % HK_LOAN_MAPS;
	*made = m;
	return 0;
}

int hk_borrower_find(struct hk_borrower *b, struct hk_wire *wire, int peer, uint32_t tag,
		     const struct hk_loan *loan, size_t bytes, const void **data)
{
	struct hk_loan_map *m = NULL;
	int err;

	if (loan->at > loan->region_bytes || bytes > loan->region_bytes - loan->at)
		return hk_fail(HK_EWIRE, "rank %d lends bytes outside of its region", peer);
	for (unsigned i = 0; i < HK_LOAN_MAPS && !m; i++)
		if (b->maps[i].base && b->maps[i].region == loan->region &&
		    b->maps[i].bytes == loan->region_bytes)
			m = &b->maps[i];
	if (!m) {
		err = map(b, wire, peer, tag, loan, &m);
		if (err)
			return err;
	}
	*data = m->base + loan->at;
	return 0;
}

void hk_borrower_close(struct hk_borrower *b)
{
	for (unsigned i = 0; i < HK_LOAN_MAPS; i++)
		if (b->maps[i].base)
			munmap(b->maps[i].base, b->maps[i].bytes);
	if (b->open)
		close(b->file);
	*b = (struct hk_borrower){.open = false};
}
