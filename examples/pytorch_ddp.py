#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch's DistributedDataParallel over Hocket's libnccl.so.2, checked against gloo.

Several processes train a small model with the nccl backend, all on one GPU (NCCL itself refuses
that), twice; then the same with gloo on the processor. The losses must agree with gloo's within a
tolerance, and losses and parameters must have the same bits on all ranks and in both runs.

    LD_PRELOAD=.../hocket-nccl/libnccl.so.2 python3 examples/pytorch_ddp.py --ranks 2

The exit status is 0 if all that holds, 1 if not, 77 where there is no PyTorch or no GPU.
"""
import argparse
import ctypes
import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

SKIPPED = 77


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--steps", type=int, default=5, help="training steps (default 5)")
    parser.add_argument("--device", type=int, default=0, help="the GPU of all ranks (default 0)")
    parser.add_argument("--tolerance", type=float, default=1e-4,
                        help="of a loss, relative to gloo's (default 1e-4)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for a run (default 120)")
    parser.add_argument("--gloo-only", action="store_true",
                        help="gloo twice and no GPU: checks this program, not Hocket")
    parser.add_argument("--any-nccl", action="store_true",
                        help="go on with a libnccl.so.2 that is not Hocket's")
    parser.add_argument("--worker", nargs=3, metavar=("RANK", "BACKEND", "FOLDER"),
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def train(args, rank, backend, folder):
    """One rank: leaves its losses and a hash of its parameters in the folder."""
    import torch
    import torch.distributed as dist
    from torch import nn

    device = torch.device("cuda", args.device) if backend == "nccl" else torch.device("cpu")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    if backend == "nccl":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method="file://" + os.path.join(folder, "store"),
                            rank=rank, world_size=args.ranks,
                            timeout=datetime.timedelta(seconds=args.timeout))
    # Initial values and data are made on the processor, so that both backends have the same. Ranks
    # start from different values: DDP's broadcast of rank 0's must reach them.
    torch.manual_seed(1 + rank)
    model = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(),
                          nn.Linear(128, 8)).to(device)
    model = nn.parallel.DistributedDataParallel(
        model, device_ids=[args.device] if backend == "nccl" else None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    data = torch.Generator().manual_seed(1000 + rank)
    losses = []
    for _ in range(args.steps):
        x = torch.randn(32, 64, generator=data).to(device)
        y = torch.randn(32, 8, generator=data).to(device)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(mean.item() / args.ranks)
    digest = hashlib.sha256()
    for parameter in model.parameters():
        raw = parameter.detach().cpu().contiguous().view(torch.uint8)
        digest.update(bytes(raw.flatten().tolist()))
    with open(os.path.join(folder, f"{rank}.json"), "w") as f:
        json.dump({"losses": losses, "parameters": digest.hexdigest()}, f)
    dist.destroy_process_group()


def run(args, backend):
    """All ranks; what each has left, by rank. None if one failed."""
    env = dict(os.environ, CUBLAS_WORKSPACE_CONFIG=":4096:8")
    if backend == "nccl":
        env.setdefault("HOCKET_DEVICE", str(args.device))
    with tempfile.TemporaryDirectory() as folder:
        deadline = time.monotonic() + args.timeout
        command = [sys.executable, os.path.abspath(__file__), "--ranks", str(args.ranks),
                   "--steps", str(args.steps), "--device", str(args.device),
                   "--timeout", str(args.timeout), "--worker"]
        workers = [subprocess.Popen(command + [str(rank), backend, folder], env=env)
                   for rank in range(args.ranks)]
        failed = False
        try:
            for rank, worker in enumerate(workers):
                status = worker.wait(max(deadline - time.monotonic(), 0.01))
                if status:
                    print(f"{backend}: rank {rank} ended with status {status}")
                    failed = True
        except subprocess.TimeoutExpired:
            print(f"{backend}: not done after {args.timeout:g} s")
            failed = True
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        if failed:
            return None
        results = []
        for rank in range(args.ranks):
            with open(os.path.join(folder, f"{rank}.json")) as f:
                results.append(json.load(f))
        return results


def check(what, holds):
    print(f"{'ok  ' if holds else 'FAIL'}  {what}")
    return holds


def compare(args, runs, reference):
    alike = all(rank == results[0] for results in runs for rank in results)
    good = check(f"losses and parameters have the same bits on all {args.ranks} ranks", alike)
    good &= check("and in both runs", runs[0] == runs[1])
    worst = max(abs(a - b) / max(abs(b), 1e-30)
                for a, b in zip(runs[0][0]["losses"], reference[0]["losses"]))
    good &= check(f"losses are gloo's within {args.tolerance:g} (largest difference {worst:.2e})",
                  worst <= args.tolerance)
    return good


def skip(why):
    print(f"skipped: {why}")
    return SKIPPED


def main():
    args = arguments()
    if args.worker:
        rank, backend, folder = args.worker
        train(args, int(rank), backend, folder)
        return 0
    try:
        import torch
        import torch.distributed as dist
    except ImportError as why:
        return skip(f"PyTorch is not there ({why})")
    backend = "gloo" if args.gloo_only else "nccl"
    if backend == "nccl":
        if not dist.is_nccl_available():
            return skip("this PyTorch was built without NCCL")
        if not torch.cuda.is_available():
            return skip("PyTorch sees no GPU")
        if not hasattr(ctypes.CDLL(None), "hocketGetVersion") and not args.any_nccl:
            print("this would run on another NCCL: start it with LD_PRELOAD=.../libnccl.so.2 of "
                  "Hocket, or with --any-nccl")
            return 1
    runs = [run(args, backend) for _ in range(2)]
    reference = run(args, "gloo")
    if None in runs or reference is None:
        return 1
    print(f"step  {backend:>22}  {'gloo':>22}")
    for step, (a, b) in enumerate(zip(runs[0][0]["losses"], reference[0]["losses"])):
        print(f"{step:4}  {a:22.17g}  {b:22.17g}")
    return 0 if compare(args, runs, reference) else 1


if __name__ == "__main__":
    sys.exit(main())
