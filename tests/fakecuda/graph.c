/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Graphs, as captures make them: work, each after some earlier work. A launch is a mark in its
 * stream, the operations of all nodes, and a mark after them that is then the end of the stream. An
 * executable graph does not overlap itself, whatever streams it is launched on.
 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>

struct CUgraphExec_st {
	CUgraph graph; /* never changes: nothing adds to one that was captured */
	struct fake_op *last;
};

CUgraph fake_graph_new(void)
{
	CUgraph graph = fake_alloc(sizeof *graph);

	graph->refs = 1;
	return graph;
}

void fake_graph_drop(CUgraph graph)
{
	if (!graph || --graph->refs)
		return;
	for (unsigned i = 0; i < graph->nnodes; i++) {
		fake_work_drop(graph->nodes[i].work);
		free(graph->nodes[i].before);
	}
	free(graph->nodes);
	free(graph);
}

unsigned fake_graph_add(CUgraph graph, struct fake_work *work, const unsigned *before, unsigned n)
{
	struct fake_node *node;

	if (graph->nnodes == graph->room) {
		graph->room = graph->room ? 2 * graph->room : 8;
		graph->nodes = fake_realloc(graph->nodes, graph->room * sizeof *graph->nodes);
	}
	node = &graph->nodes[graph->nnodes];
	work->refs++;
	node->work = work;
	node->before = fake_alloc(n * sizeof *before);
	node->nbefore = n;
	if (n)
		memcpy(node->before, before, n * sizeof *before);
	return graph->nnodes++;
}

bool fake_graph_covers(CUgraph graph, const unsigned *last, unsigned nlast, const unsigned *nodes,
		       unsigned n)
{
	bool *covered = fake_alloc(graph->nnodes * sizeof *covered);
	bool all = true;

	for (unsigned i = 0; i < nlast; i++)
		covered[last[i]] = true;
	for (unsigned i = graph->nnodes; i-- > 0;)
		for (unsigned k = 0; covered[i] && k < graph->nodes[i].nbefore; k++)
			covered[graph->nodes[i].before[k]] = true;
	for (unsigned i = 0; i < n; i++)
		all = all && covered[nodes[i]];
	free(covered);
	return all;
}

CUresult cuGraphInstantiate(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);
	CUgraphExec exec;

	if (err)
		return err;
	if (!hGraph || flags)
		return CUDA_ERROR_INVALID_VALUE;
	exec = fake_alloc(sizeof *exec);
	exec->graph = hGraph;
	pthread_mutex_lock(&fake.lock);
	hGraph->refs++;
	pthread_mutex_unlock(&fake.lock);
	*phGraphExec = exec;
	return CUDA_SUCCESS;
}

/* All are tied together before the first is queued: it may be over at once. */
static void launch(CUgraphExec exec, CUstream stream)
{
	CUgraph graph = exec->graph;
	struct fake_op **ops = fake_alloc(graph->nnodes * sizeof *ops);
	struct fake_op *begin = fake_stream_op(stream, NULL);
	struct fake_op *end = fake_op_new(stream->ctx, NULL, stream->blocking);

	fake_op_after(begin, exec->last);
	fake_op_after(end, begin);
	for (unsigned i = 0; i < graph->nnodes; i++) {
		const struct fake_node *node = &graph->nodes[i];

		ops[i] = fake_op_new(node->work->ctx, node->work, stream->blocking);
		if (!node->nbefore)
			fake_op_after(ops[i], begin);
		for (unsigned k = 0; k < node->nbefore; k++)
			fake_op_after(ops[i], ops[node->before[k]]);
		fake_op_after(end, ops[i]);
	}
	fake_op_drop(exec->last);
	exec->last = fake_op_hold(end);
	fake_op_queue(begin);
	for (unsigned i = 0; i < graph->nnodes; i++)
		fake_op_queue(ops[i]);
	fake_stream_queue(stream, end);
	free(ops);
}

CUresult cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream)
{
	CUcontext ctx;
	CUresult err = fake_enter(__func__, FAKE_CONTEXT, &ctx);
	CUstream stream = err ? NULL : fake_stream_of(hStream, ctx);

	if (err)
		return err;
	if (!stream)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!hGraphExec)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	err = fake_capture_stream(stream); /* no graphs in graphs */
	if (!err)
		launch(hGraphExec, stream);
	pthread_mutex_unlock(&fake.lock);
	return err;
}

/* This one and the next at exit too, like cuEventDestroy. */
CUresult cuGraphExecDestroy(CUgraphExec hGraphExec)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err && err != CUDA_ERROR_DEINITIALIZED)
		return err;
	if (!hGraphExec)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	fake_op_drop(hGraphExec->last);
	fake_graph_drop(hGraphExec->graph);
	pthread_mutex_unlock(&fake.lock);
	free(hGraphExec);
	return err;
}

CUresult cuGraphDestroy(CUgraph hGraph)
{
	CUresult err = fake_enter(__func__, FAKE_INIT, NULL);

	if (err && err != CUDA_ERROR_DEINITIALIZED)
		return err;
	if (!hGraph)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	fake_graph_drop(hGraph);
	pthread_mutex_unlock(&fake.lock);
	return err;
}
