#!/usr/bin/env python3
"""Installs libquartet into a folder and uses it as others would: pkg-config, CMake, static; and looks at what it shows.

  test/client/package.py [--build BUILD]
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADERS = sorted((ROOT / "include" / "quartet").glob("*.h"))

PROJECT = """cmake_minimum_required(VERSION 3.16)
project(user C)
find_package(quartet 0.1 REQUIRED)
add_executable(shared hello.c)
target_link_libraries(shared PRIVATE quartet::quartet)
add_executable(static hello.c)
target_link_libraries(static PRIVATE quartet::static)
"""

# A C++ program sees the header too.
CPP = """#include <quartet/core.h>
int main() { quartet_options options{}; quartet *client; return quartet_open(&client, &options) ? 1 : (quartet_close(client), 0); }
"""


class Failed(Exception):
    pass


def run(*words, cwd=None, **more):
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


class Package:
    def __init__(self, build, work):
        self.build, self.work, self.prefix = build, pathlib.Path(work), pathlib.Path(work) / "prefix"

    def install(self):
        run("cmake", "--install", self.build, "--prefix", self.work / "first", "--component", "library")
        os.rename(self.work / "first", self.prefix)  # an installed tree may be moved
        self.lib = next(self.prefix.rglob("libquartet.so")).parent
        self.env = {**os.environ, "PKG_CONFIG_PATH": str(self.lib / "pkgconfig"), "LD_LIBRARY_PATH": str(self.lib)}

    def files_are_there(self):
        for name in ("include/quartet/quartet.h", "include/quartet/core.h", "share/man/man3/libquartet.3"):
            if not (self.prefix / name).exists():
                raise Failed(f"{name} is not installed")

    def flags(self, *more):
        return run("pkg-config", *more, "--cflags", "--libs", "quartet", env=self.env).split()

    def hello(self, *command):
        """Without a broker it must say that the message is safe, and wait."""
        process = subprocess.Popen([str(c) for c in command] + ["mqtt://127.0.0.1:1"], cwd=tempfile.mkdtemp(dir=self.work),
                                   env=self.env, stdout=subprocess.PIPE, text=True, bufsize=1)
        try:
            line = process.stdout.readline()
        finally:
            process.kill()
            process.wait()
        if "on disk" not in line:
            raise Failed(f"{command[0]} says: {line}")

    def compiles_with_pkg_config(self):
        run("cc", ROOT / "examples" / "hello.c", "-o", "hello", *self.flags(), cwd=self.work, env=self.env)
        self.hello("stdbuf", "-oL", self.work / "hello")

    def compiles_strictly(self):
        for example in sorted((ROOT / "examples").glob("*.c")):
            run("cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", example,
                "-o", "x.o", *self.flags(), cwd=self.work, env=self.env)

    def compiles_as_cpp(self):
        (self.work / "user.cpp").write_text(CPP, encoding="utf-8")
        if shutil.which("c++"):
            run("c++", "-Wall", "-Wextra", "-Werror", "user.cpp", "-o", "user", *self.flags(), cwd=self.work, env=self.env)

    def compiles_with_cmake(self):
        project = self.work / "project"
        project.mkdir()
        shutil.copy(ROOT / "examples" / "hello.c", project)
        (project / "CMakeLists.txt").write_text(PROJECT, encoding="utf-8")
        run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", project / "build")
        for name in ("shared", "static"):
            self.hello("stdbuf", "-oL", project / "build" / name)
        if "libquartet" in run("ldd", project / "build" / "static", env=self.env):
            raise Failed("the static program needs the shared library")

    @staticmethod
    def declared():
        """Functions that the headers declare for linking."""
        text = "".join(h.read_text(encoding="utf-8") for h in HEADERS)
        return set(re.findall(r"QUARTET_PUBLIC[^;]*?\b(quartet_\w+)\(", text))

    def shows_its_functions_alone(self):
        lines = run("nm", "-D", "--defined-only", self.lib / "libquartet.so").splitlines()
        shared = {re.sub("@.*", "", line.split()[-1]) for line in lines if line.split()[-2] != "A"}
        lines = run("nm", "-g", "--defined-only", self.lib / "libquartet.a").splitlines()
        static = {line.split()[-1] for line in lines if len(line.split()) == 3}
        for what, seen in (("shared", shared), ("static", static)):
            if seen != self.declared():
                raise Failed(f"{what}: {sorted(seen ^ self.declared())}")
        if "SONAME" not in (text := run("readelf", "-d", self.lib / "libquartet.so")) or "libquartet.so.0]" not in text:
            raise Failed("the soname is not libquartet.so.0")
        if "libuv" in text or "urcu" in text:
            raise Failed("the library needs what only the broker needs")

    @staticmethod
    def the_manual_is_complete():
        text = "".join(h.read_text(encoding="utf-8") for h in HEADERS)
        manual = (ROOT / "docs" / "libquartet.3").read_text(encoding="utf-8")
        words = set(re.findall(r"\b(quartet_\w+)\(", text)) | set(re.findall(r"\bQUARTET_EVENT_\w+", text))
        words |= {"QUARTET_" + name for name in re.findall(r"^    ROW\((\w+),", text, re.MULTILINE)}
        for body in re.findall(r"^struct quartet_\w+ \{(.*?)^\};", text, re.MULTILINE | re.DOTALL):
            plain = re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL)
            words |= set(re.findall(r"(?:\(\*)?(\w+)(?:\)\([^)]*\)|\[\d+\])?;", plain))
        missing = sorted(w for w in words if not re.search(rf"\b{w}\b", manual) and w not in ("name", "value", "bytes", "len"))
        if missing:
            raise Failed("docs/libquartet.3 does not name " + ", ".join(missing))

    @staticmethod
    def the_tutorial_shows_the_example():
        hello = (ROOT / "examples" / "hello.c").read_text(encoding="utf-8").strip()
        if hello not in (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"):
            raise Failed("docs/tutorial.md does not hold examples/hello.c")
        if len(hello.splitlines()) >= 30:
            raise Failed("the first program has 30 lines or more")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=ROOT / "build" / "release")
    options = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="quartet-package-") as work:
        package = Package(options.build, work)
        for test in (package.install, package.files_are_there, package.compiles_with_pkg_config, package.compiles_strictly,
                     package.compiles_as_cpp, package.compiles_with_cmake, package.shows_its_functions_alone,
                     package.the_manual_is_complete, package.the_tutorial_shows_the_example):
            try:
                test()
                passed += 1
                print(f"ok      {test.__name__}")
            except Failed as e:
                failed += 1
                print(f"FAILED  {test.__name__}: {e}")
    print(f"summary: passed={passed} failed={failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
