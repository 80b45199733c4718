#!/bin/bash
exec /tmp/quartet/speed/build/release/bin/quartetd "$@"
