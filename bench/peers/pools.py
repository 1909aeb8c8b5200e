"""Python's own pools, with a function that does next to nothing in two processes.

pools.py pool|executor map|apply CHUNK N: prints one line of JSON. A chunk of 0 is what the pool chooses.
"""
import json, multiprocessing, os, platform, sys, time
from concurrent.futures import ProcessPoolExecutor

PROCESSES = 2


def square(n):
    return n * n


def ran(pids):
    """How long all threads of these processes have run, in nanoseconds."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    return total


def calls(kind, pool, what, chunk, n):
    """What is measured: all results, in order."""
    if what == "apply" and kind == "pool":
        return lambda: [pool.apply(square, (i,)) for i in range(n)]
    if what == "apply":
        return lambda: [pool.submit(square, i).result() for i in range(n)]
    if kind == "pool":
        return lambda: pool.map(square, range(n), chunksize=chunk or None)
    return lambda: list(pool.map(square, range(n), chunksize=chunk or 1))


def main():
    kind, what, chunk, n = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    names = {"pool": "multiprocessing.Pool", "executor": "ProcessPoolExecutor"}
    make = {"pool": multiprocessing.Pool, "executor": ProcessPoolExecutor}[kind]
    with make(PROCESSES) as pool:
        assert list(pool.map(square, range(100))) == [i * i for i in range(100)]
        pids = [child.pid for child in multiprocessing.active_children()]
        assert len(pids) == PROCESSES, pids
        run = calls(kind, pool, what, chunk, n)
        children, caller, began = ran(pids), time.process_time_ns(), time.perf_counter_ns()
        results = run()
        nanos, caller, children = time.perf_counter_ns() - began, time.process_time_ns() - caller, ran(pids) - children
        assert results == [i * i for i in range(n)]
    print(json.dumps({"name": f"{names[kind]} {platform.python_version()}", "nanos": nanos, "caller": caller, "children": children}))


if __name__ == "__main__":
    main()
