#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads the Kubernetes manifest and checks that it has what the operator and RDMA need, and that its
numbers agree. Exits with 77, which meson counts as skipped, without python3's yaml.

    manifest.py FILE
"""
import sys

try:
    import yaml
except ImportError:
    print("SKIPPED: python3's yaml is missing (scripts/setup --ci installs python3-yaml)")
    sys.exit(77)

failed = []


def check(what, holds):
    print(("ok: " if holds else "FAILED: ") + what)
    if not holds:
        failed.append(what)


with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
check("there is one document", len(documents) == 1)
job = documents[0]
check("it is an MPIJob of v2beta1", (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob"))
check("it has a name", bool(job["metadata"]["name"]))
spec = job["spec"]
launcher, worker = (spec["mpiReplicaSpecs"][role] for role in ("Launcher", "Worker"))
check("there is one launcher", launcher["replicas"] == 1)
boxes = {}
for role, replica in (("launcher", launcher), ("worker", worker)):
    containers = replica["template"]["spec"]["containers"]
    check(f"the {role} is one container", len(containers) == 1)
    boxes[role] = box = containers[0]
    check(f"the {role} has an image and a command", bool(box["image"]) and bool(box["command"]))
    check(f"the {role}'s arguments are strings", all(isinstance(word, str) for word in box["args"]))
    check(f"the {role}'s variables are strings",
          all(isinstance(variable["value"], str) for variable in box.get("env", [])))
check("both have the same image", boxes["launcher"]["image"] == boxes["worker"]["image"])

words = boxes["launcher"]["command"] + boxes["launcher"]["args"]
ranks = int(words[words.index("-n") + 1])
check("mpirun starts as many ranks as there are slots", ranks == worker["replicas"] * spec["slotsPerWorker"])
check("the keys lie where root's ssh looks", spec["sshAuthMountPath"] == "/root/.ssh")
passed_on = {words[i + 1] for i, word in enumerate(words) if word == "-x"}
check("mpirun passes on every variable that is set",
      {variable["name"] for variable in boxes["launcher"]["env"]} == passed_on)

box = boxes["worker"]
check("the worker may lock memory", "IPC_LOCK" in box["securityContext"]["capabilities"]["add"])
check("the worker has an RDMA device", box["resources"]["limits"].get("rdma/hca") == 1)
check("the worker listens before mpirun comes",
      spec["launcherCreationPolicy"] == "WaitForWorkersReady" and "tcpSocket" in box["readinessProbe"])
mounts = {mount["name"]: mount["mountPath"] for mount in box["volumeMounts"]}
volumes = {volume["name"]: volume for volume in worker["template"]["spec"]["volumes"]}
check("every mount has its volume", set(mounts) == set(volumes))
shm = [volumes[name] for name, path in mounts.items() if path == "/dev/shm"]
check("/dev/shm is memory with a limit",
      len(shm) == 1 and shm[0]["emptyDir"]["medium"] == "Memory" and bool(shm[0]["emptyDir"]["sizeLimit"]))
sys.exit(1 if failed else 0)
