#!/usr/bin/env python3
"""Generates the modules of the contract into gen/."""

import pathlib
import sys

import grpc_tools
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
OUT = HERE / "gen"

OUT.mkdir(exist_ok=True)
sys.exit(
    protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={pathlib.Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={OUT}",
            f"--grpc_python_out={OUT}",
            *sorted(str(path) for path in PROTO.rglob("*.proto")),
        ]
    )
)
