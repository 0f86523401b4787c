# SPDX-License-Identifier: BSD-2-Clause
"""What `make install` leaves is enough for other programs: headers by themselves, pkg-config, both
libraries, and the example built from nothing else and running."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("XY_BUILD", os.path.join(TOP, "build"))
EXAMPLE = os.path.join(TOP, "docs", "examples", "lines.c")


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def flags_of_the_build():
    """The compiler of this build, and the sanitizers that its libraries need."""
    with open(os.path.join(BUILD, ".flags"), encoding="utf-8") as file:
        words = file.read().split()
    return words[0], sorted({word for word in words if word.startswith("-fsanitize")})


class Installed:
    def __init__(self, directory):
        self.directory = directory
        self.compiler, self.sanitizers = flags_of_the_build()
        # Installs what is built, and builds nothing: whatever runs beside this needs it unchanged.
        run("make", "-C", TOP, "-s", "-o", "all", "BUILD=" + BUILD, "PREFIX=/usr/local",
            "DESTDIR=" + directory, "install")
        self.libraries = os.path.join(directory, "usr/local/lib")
        self.environment = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=directory,
                                PKG_CONFIG_LIBDIR=os.path.join(self.libraries, "pkgconfig"))

    def pkg_config(self, *arguments):
        return run("pkg-config", *arguments, "xylem", env=self.environment).split()

    def compile(self, name, *arguments):
        program = os.path.join(self.directory, name)
        run(self.compiler, "-Wall", "-Wextra", "-Werror", *self.sanitizers, "-o", program, *arguments)
        return program


def headers_compile_by_themselves_in_plain_c11(installed):
    include = os.path.join(installed.directory, "usr/local/include")
    for header in sorted(os.listdir(os.path.join(include, "xylem"))):
        run(installed.compiler, "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror",
            "-fsyntax-only", "-I", include, "-x", "c", "-", input=f"#include <xylem/{header}>\n"
            "typedef int not_empty;\n")


def answers(program, environment):
    server = subprocess.Popen([program, "--port", "0"], stdout=subprocess.PIPE, text=True,
                              env=environment)
    try:
        port = int(server.stdout.readline().split()[-1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"hello\npipes")
            client.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: client.recv(4096), b""))
        assert got == b"5 hello\n5 pipes\n", got
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def example_runs_with_the_shared_library(installed):
    program = installed.compile("lines-shared", EXAMPLE, *installed.pkg_config("--cflags", "--libs"))
    needed = run("readelf", "-d", program)
    assert "libxylem.so.1" in needed, needed
    answers(program, dict(os.environ, LD_LIBRARY_PATH=installed.libraries))


def example_runs_with_the_static_library(installed):
    archive = os.path.join(installed.libraries, "libxylem.a")
    program = installed.compile("lines-static", EXAMPLE, *installed.pkg_config("--cflags"), archive,
                                "-pthread")
    # Pipes alone need neither the rest of the library nor what that needs.
    needed = run("readelf", "-d", program)
    assert "xylem" not in needed and "jansson" not in needed, needed
    answers(program, os.environ)


CLIENT = """
#include <string.h>
#include <xylem/client.h>
int main(void)
{
	char why[256] = "";
	struct xy_client_options options = {.size = sizeof(options), .server = "tls:127.0.0.1:1",
					    .tls_ca = "/nowhere", .why = why,
					    .why_size = sizeof(why)};
	struct xy_client *client;
	return xy_client_connect(&options, &client) == 0 || *why == 0;
}
"""


def client_links_with_what_pkg_config_names(installed):
    source = os.path.join(installed.directory, "client.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write(CLIENT)
    shared = installed.compile("client-shared", source, *installed.pkg_config("--cflags", "--libs"))
    subprocess.run([shared], check=True, env=dict(os.environ, LD_LIBRARY_PATH=installed.libraries))
    words = installed.pkg_config("--static", "--cflags", "--libs")
    archive = os.path.join(installed.libraries, "libxylem.a")
    static = installed.compile("client-static", source,
                               *[archive if word == "-lxylem" else word for word in words])
    assert "libxylem" not in run("readelf", "-d", static)
    subprocess.run([static], check=True)


def main():
    tests = [headers_compile_by_themselves_in_plain_c11, example_runs_with_the_shared_library,
             example_runs_with_the_static_library, client_links_with_what_pkg_config_names]
    print(f"1..{len(tests)}")
    directory = tempfile.mkdtemp(prefix="xylem-install-")
    failed = 0
    try:
        installed = Installed(directory)
        for number, test in enumerate(tests, 1):
            try:
                test(installed)
                print(f"ok {number} - {test.__name__}", flush=True)
            except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"not ok {number} - {test.__name__}\n# {error!r}", flush=True)
    finally:
        shutil.rmtree(directory)
    raise SystemExit(1 if failed else 0)


main()
