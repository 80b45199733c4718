#!/bin/bash
exec perf record -F 1500 -g -o /tmp/quartet/speed.scratch/perf.start.data /tmp/quartet/speed/build/release/bin/quartetd "$@"
