/* SPDX-License-Identifier: BSD-3-Clause */
/* The growing tables of a program that is read from a file; see assemble.h. */
#include "assemble.h"

#include <errno.h>
#include <stdlib.h>

#include "error.h"

int hk_assemble_begin(struct hk_assembly *a, int rank)
{
	struct hk_program *prog = calloc(1, sizeof(*prog));

	*a = (struct hk_assembly){.max_lanes = 4, .max_steps = 16, .max_deps = 16};
	if (prog) {
		prog->rank = rank;
		prog->lanes = malloc(a->max_lanes * sizeof(*prog->lanes));
		prog->steps = malloc(a->max_steps * sizeof(*prog->steps));
		prog->deps = malloc(a->max_deps * sizeof(*prog->deps));
	}
	if (!prog || !prog->lanes || !prog->steps || !prog->deps) {
		hk_program_free(prog);
		return hk_fail_quiet(ENOMEM, "no memory for a program");
	}
	a->prog = prog;
	return 0;
}

/* Makes room for one record more. */
static int grow(void **table, uint32_t n, uint32_t *max, size_t size)
{
	void *t;

	if (n < *max)
		return 0;
	t = n > INT32_MAX / 2 ? NULL : realloc(*table, (size_t)*max * 2 * size);
	if (!t)
		return hk_fail_quiet(ENOMEM, "no memory for a program of more than %u steps", n);
	*table = t;
	*max *= 2;
	return 0;
}

int hk_assemble_lane(struct hk_assembly *a, uint32_t channel)
{
	struct hk_program *prog = a->prog;
	int rc = grow((void **)&prog->lanes, prog->nlanes, &a->max_lanes, sizeof(*prog->lanes));

	if (!rc)
		prog->lanes[prog->nlanes++] = (struct hk_lane){prog->nsteps, 0, channel};
	return rc;
}

int hk_assemble_step(struct hk_assembly *a, const struct hk_step *step)
{
	struct hk_program *prog = a->prog;
	int rc = grow((void **)&prog->steps, prog->nsteps, &a->max_steps, sizeof(*prog->steps));

	if (rc)
		return rc;
	prog->steps[prog->nsteps] = *step;
	prog->steps[prog->nsteps].dep = 0;
	prog->steps[prog->nsteps].ndeps = 0;
	prog->nsteps++;
	prog->lanes[prog->nlanes - 1].nsteps++;
	return 0;
}

int hk_assemble_dep(struct hk_assembly *a, struct hk_dep dep)
{
	struct hk_program *prog = a->prog;
	struct hk_step *s = &prog->steps[prog->nsteps - 1];
	int rc = grow((void **)&prog->deps, prog->ndeps, &a->max_deps, sizeof(*prog->deps));

	if (rc)
		return rc;
	if (!s->ndeps++)
		s->dep = prog->ndeps;
	prog->deps[prog->ndeps++] = dep;
	return 0;
}
