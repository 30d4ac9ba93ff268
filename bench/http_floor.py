"""http-floor: what an inference costs above HTTP itself. Identity on FP32[16] as JSON, 64 connections, one server core,
against nginx that returns a fixed body of the same size."""
import json

from measure import Server, WORK, free_port, load, need, need_same_scheduling, quern_serve, record, table

BODY = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 16], "datatype": "FP32",
                               "data": [round(0.1 * i - 0.7, 1) for i in range(16)]}]}).encode()
PATH = "/v2/models/identity/infer"
BUDGET = {"inline": 1.5, "process": 2.2}


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


def run(seconds):
    need("nginx", "taskset")
    results = {}
    with nginx() as server:
        results["nginx return 200"] = load(server, PATH, BODY, 64, seconds)
    for isolation in ("inline", "process"):
        with quern_serve(f"quern {isolation}", "builtin:identity", isolation=isolation) as server:
            results[f"quern identity, {isolation}"] = load(server, PATH, BODY, 64, seconds)
    floor = results["nginx return 200"]["cpu_us_per_request"]
    print("Identity, FP32[16] as JSON, keep-alive, 64 connections")
    table(["", "CPU µs/request", "min-max", "requests/s", "p50 µs", "p99 µs", "x nginx", "budget"],
          [[name, f"{r['cpu_us_per_request']:.2f}", "{:.2f}-{:.2f}".format(*r["spread_cpu_us"]), f"{r['rps']:.0f}",
            f"{r['p50_us']:.0f}", f"{r['p99_us']:.0f}", f"{r['cpu_us_per_request'] / floor:.2f}",
            BUDGET.get(name.rsplit(" ", 1)[1], "")] for name, r in results.items()])
    need_same_scheduling(results.values())
    record("http-floor", {"results": results})
