"""A Ray cluster of several nodes on this machine, for tests: run by Ray's own Python. It says `ready ADDRESS` when it
stands, and obeys lines: `kill` takes a node away as if its machine had died, `quit` ends it."""

from __future__ import annotations

import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "120000"}

from ray.cluster_utils import Cluster  # type: ignore[import-not-found]

STORE_BYTES = 80 << 20


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES) for _ in range(int(sys.argv[1]))]
    cluster.wait_for_nodes()
    tell(f"ready {cluster.address}")
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            tell("killed")
        else:
            break
    cluster.shutdown()


if __name__ == "__main__":
    main()
