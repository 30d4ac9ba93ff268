#!/usr/bin/env python3
"""./dev bench NAME [--seconds N]: one benchmark, quern and its peers in the same run. ./dev bench lists the names."""
import argparse
import importlib
import pathlib
import sys

NAMES = ["http-floor", "startup", "iris", "overload", "batching", "serving-cnn", "serving-memory", "serving-starts", "serving-reload", "serving-many", "serving-registry", "triton",
         "triton-faults"]


def load_module(name):
    return importlib.import_module(name.replace("-", "_"))


def main():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=int, help="of each measurement, of which there are three (default 5, or what the benchmark says)")
    parser.add_argument("--quick", action="store_true", help="one second: shows that everything runs, not how fast")
    parser.add_argument("name", nargs="?", choices=NAMES)
    options = parser.parse_args()
    if options.list or not options.name:
        for name in NAMES:
            print(" ".join(load_module(name).__doc__.split()))
        return
    load_module("measure").ordinary_scheduling()
    try:
        module = load_module(options.name)
        module.run(1 if options.quick else options.seconds or getattr(module, "SECONDS", 5))
    except RuntimeError as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
