#!/usr/bin/python3.11 -Es
"""`docker run --rm calico/node:VERSION versions`."""

import process

print(f"calico/node {process.version()}")
