"""http-floor: what an inference costs above HTTP itself. Identity on FP32[16] as JSON, 64 connections, one server core,
against nginx that returns a fixed body of the same size, in turns."""
import json
import statistics

from measure import Server, WORK, free_port, load, need, need_same_scheduling, record, table
from serving_common import up

BODY = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32",
                               "data": [round(0.1 * i - 0.7, 1) for i in range(16)]}]}).encode()
PATH = "/v2/models/identity/infer"
BUDGET = {"inline": 1.5, "process": 2.2}
TURNS, SECONDS = 5, 2


def nginx():
    """One worker, no log, keep-alive without end; the answer has about the size of ours."""
    port = free_port()
    folder = WORK / "nginx"
    folder.mkdir(exist_ok=True)
    answer = '{"model_name":"identity","model_version":"1","outputs":[' + BODY.decode()[len('{"inputs": ['):-1] + "}"
    (folder / "nginx.conf").write_text(f"""
daemon off; master_process on; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; default_type application/json;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{answer}'; }} }}
}}
""")
    return Server("nginx return 200", ["nginx", "-c", folder / "nginx.conf"], f"http://127.0.0.1:{port}/")


def quern(isolation):
    return up(f"http-floor-{isolation}", f'models: {{identity: {{path: "builtin:identity", isolation: {isolation}}}}}')


def run(seconds):
    need("nginx", "taskset")
    names = ["nginx return 200", "quern identity, inline", "quern identity, process"]
    turns = {name: [] for name in names}
    with nginx() as floor, quern("inline") as inline, quern("process") as process:
        for _ in range(TURNS):
            for name, server in zip(names, (floor, inline, process)):
                turns[name].append(load(server, PATH, BODY, 64, seconds, runs=1))
    cpu = {name: [r["cpu_us_per_request"] for r in results] for name, results in turns.items()}
    times = {name: statistics.median(ours / base for ours, base in zip(cpu[name], cpu[names[0]])) for name in names}
    print("Identity, FP32[16] as JSON, keep-alive, 64 connections; medians of the turns")
    rows = []
    for name, results in turns.items():
        middle = {key: statistics.median(r[key] for r in results) for key in ("cpu_us_per_request", "rps", "p50_us", "p99_us")}
        rows.append([name, f"{middle['cpu_us_per_request']:.2f}", f"{min(cpu[name]):.2f}-{max(cpu[name]):.2f}", f"{middle['rps']:.0f}",
                     f"{middle['p50_us']:.0f}", f"{middle['p99_us']:.0f}", f"{times[name]:.2f}", BUDGET.get(name.rsplit(" ", 1)[1], "")])
    table(["", "CPU µs/request", "min-max", "requests/s", "p50 µs", "p99 µs", "x nginx", "budget"], rows)
    need_same_scheduling([r for results in turns.values() for r in results])
    record("http-floor", {"turns": turns})
