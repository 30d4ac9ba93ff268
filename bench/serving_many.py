"""serving-many: 8 models at once on one core against each alone, by work done: a request counts as the CPU time that it takes alone."""
import subprocess

from measure import need_same_scheduling, record, table
from serving_common import PIXELS, floats, load_command, model, result_of, run_load, up

COUNT, CONNECTIONS = 8, 4


def run(seconds):
    mlp, cnn = model("mlp784"), model("mobilenet")
    paths = [(f"mlp{i}", mlp, floats("mlp-32", 784 * 32)) for i in range(COUNT // 2)] + \
            [(f"cnn{i}", cnn, floats("image", PIXELS)) for i in range(COUNT // 2)]
    config = "models: {" + ", ".join(f"{name}: {path}" for name, path, _ in paths) + "}"
    with up("quern-many", config) as s:
        url = {name: f"/v2/models/{name}/infer" for name, _, _ in paths}
        alone = {name: run_load(s, url[name], body, seconds, "--connections", CONNECTIONS) for name, _, body in (paths[0], paths[-1])}
        loads = [(name, subprocess.Popen(load_command(s, url[name], body, seconds * 2, "--connections", CONNECTIONS), stdout=subprocess.PIPE))
                 for name, _, body in paths]
        outputs = [(name, load.communicate()[0], load.returncode) for name, load in loads]
        together = {name: result_of(s, output, code) for name, output, code in outputs}
    cost = {"mlp": alone[paths[0][0]]["cpu_us_per_request"], "cnn": alone[paths[-1][0]]["cpu_us_per_request"]}
    # Each load measures the CPU time of the whole server for each of its own requests.
    shares = {name: cost[name[:3]] / r["cpu_us_per_request"] for name, r in together.items()}
    table(["", "CPU us/request alone", "requests/s together", "share of the work"],
          [[name, f"{cost[name[:3]]:.0f}", f"{r['rps']:.1f}", f"{100 * shares[name]:.1f} %"] for name, r in together.items()])
    print(f"work done in a CPU second together: {100 * sum(shares.values()):.1f} % of one model alone; budget 90 %")
    need_same_scheduling(list(together.values()))
    record("serving-many", {"alone": alone, "together": together})
