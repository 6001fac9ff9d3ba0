"""A run on a Ray cluster of two nodes, one of which is lost on the way."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys, time
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_AUTH_MODE="disabled")
import ray
from ray.cluster_utils import Cluster as Nodes
from clustered import slow_squares
from scanward.judging.cluster import Cluster
from scanward.judging.watched import Limits

nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = nodes.add_node(num_cpus=1)
ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
done, places = [], set()
for one in Cluster("auto", None, Limits(seconds=30), lambda item: 1 << 22).run(slow_squares, iter(range(200))):
    done.append((one.item, one.found and one.found[0], str(one.error)))
    places.add(one.found and one.found[1])
    if len(places - {None}) == 2 and other is not None:
        nodes.remove_node(other, allow_graceful=False)
        other = None
ray.shutdown()
nodes.shutdown()
print(json.dumps([done, other is None]))
"""


def test_what_a_lost_node_had_in_hand_is_done_elsewhere(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (scanward[ray])")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, str(script)], check=False, env=environment, capture_output=True, text=True,
                         timeout=400)
    assert ran.returncode == 0, ran.stderr[-3000:]
    done, lost = json.loads(ran.stdout.splitlines()[-1])
    assert lost and sorted(done) == [[n, None if n == 13 else n * n, "None" if n != 13 else
                                      "It was set aside after 2 tries: its process died (SIGKILL); look at it by other "
                                      "means."] for n in range(200)]
