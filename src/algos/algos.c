/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding an algorithm and building one participant's program with it. The table is generated. */
#include "algos.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "layout.h"

const struct hk_algo *hk_algo_find(const char *name)
{
	for (unsigned i = 0; i < hk_nalgos; i++)
		if (!strcmp(hk_algos[i]->name, name))
			return hk_algos[i];
	return NULL;
}

int hk_algo_participants(const struct hk_algo *algo, const struct hk_problem *p)
{
	struct hk_problem without = *p;
	struct hk_layout bare;

	if (!p->layout || !p->layout->nswitches || !algo->accepts(p))
		return p->nranks;
	bare = *p->layout;
	bare.nswitches = 0;
	without.layout = &bare;
	return p->nranks + (algo->accepts(&without) ? 0 : p->layout->nswitches);
}

int hk_algo_program(const struct hk_algo *algo, const struct hk_problem *p, int rank, bool fuse,
		    struct hk_program **prog)
{
	struct hk_program *built = NULL;
	struct hk_builder *b;
	int rc, failed;

	if (p->coll != algo->coll || rank < 0 || rank >= hk_algo_participants(algo, p) ||
	    !algo->accepts(p))
		return hk_fail(EINVAL, "%s does not solve %s for rank %d of %d with %u channels",
			       algo->name, hk_coll_name(p->coll), rank, p->nranks, p->channels);
	rc = hk_build_begin(p, rank, &b);
	if (rc)
		return rc;
	failed = algo->build(p, rank, b);
	rc = hk_build_finish(b, &built);
	if (!rc)
		rc = failed;
	if (!rc && fuse)
		rc = hk_fuse(p, built);
	if (rc) {
		hk_program_free(built);
		return rc;
	}
	*prog = built;
	return 0;
}
