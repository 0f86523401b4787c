# SPDX-License-Identifier: BSD-2-Clause
"""Kernels for guests come from an archive that Debian's keyring vouches for, once a day, and one
that cannot be had is told. The archive is played here, and the keyring with it."""
import contextlib
import email.utils
import hashlib
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "common"))
import tap  # noqa: E402

FETCH = os.path.join(TOP, "scripts", "vm", "fetch-kernel.sh")
CHECK = os.path.join(TOP, "scripts", "vm", "check.sh")
# What the machine's sources and keyrings are is seen differently by one command.
ELSEWHERE = """
mount --bind "$1/sources" /etc/apt/sources.list.d
[ ! -e /etc/apt/sources.list ] || mount --bind /dev/null /etc/apt/sources.list
mount --bind "$1/keyrings" /usr/share/keyrings
shift
exec "$@"
"""


def run(*command, **options):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, check=False, **options)


def must(*command, **options):
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Archive:
    """Of bullseye, below a directory of its own, at a port of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.asked = []
        self.cache = os.path.join(directory, "cache")
        self.packages = []  # newest last
        self.published = time.time() - 3600
        for name in ("sources", "keyrings", "keys", "www/debian/dists/bullseye/main/binary-amd64",
                     "www/debian/pool"):
            os.makedirs(self.path(name))
        os.chmod(self.path("keys"), 0o700)
        archive = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=archive.path("www"))

            def do_GET(self):
                archive.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.write("sources/it.list",
                   f"deb http://127.0.0.1:{self.server.server_port}/debian stable main\n")
        self.write("apt.conf", 'Acquire::http::Proxy "DIRECT";\nAcquire::Retries "0";\n')
        for name in ("debian", "another"):
            self.gpg("--passphrase", "", "--quick-gen-key", name, "ed25519", "sign", "never")
        self.gpg("--output", self.path("keyrings/debian-archive-keyring.gpg"), "--export", "debian")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def gpg(self, *words):
        must("gpg", "--homedir", self.path("keys"), "--batch", "--yes", *words)

    def add(self, name, image="a kernel"):
        """A package linux-image-NAME-cloud-amd64-unsigned with that image."""
        package = f"linux-image-{name}-cloud-amd64-unsigned"
        tree = self.path(package)
        os.makedirs(tree + "/boot")
        os.makedirs(tree + "/DEBIAN")
        control = f"Package: {package}\nVersion: 1\nArchitecture: amd64\nMaintainer: x\n" \
                  "Description: linux image\n"
        self.write(package + "/DEBIAN/control", control)
        self.write(f"{package}/boot/vmlinuz-{name}-cloud-amd64", image)
        file = f"pool/{package}_1_amd64.deb"
        must("dpkg-deb", "--build", tree, self.path("www/debian/" + file))
        with open(self.path("www/debian/" + file), "rb") as deb:
            data = deb.read()
        self.packages.append(f"{control}Filename: {file}\nSize: {len(data)}\n"
                             f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n")
        return self.path("www/debian/" + file)

    def publish(self, by="debian"):
        """The index, signed by that key, or by none; a minute after the one before, for clients ask
        what is new since a second."""
        suite = "www/debian/dists/bullseye/"
        index = "".join(self.packages)
        self.published += 60
        date = email.utils.formatdate(self.published, usegmt=True)
        self.write(suite + "main/binary-amd64/Packages", index)
        self.write(suite + "Release", (
            "Origin: Debian\nSuite: stable\nCodename: bullseye\nArchitectures: amd64\n"
            f"Components: main\nDate: {date}\nSHA256:\n"
            f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)}"
            " main/binary-amd64/Packages\n"))
        if by:
            self.gpg("--local-user", by, "--output", self.path(suite + "InRelease"),
                     "--clearsign", self.path(suite + "Release"))
        for name in ("Release", "InRelease", "main/binary-amd64/Packages"):
            if os.path.exists(self.path(suite + name)):
                os.utime(self.path(suite + name), (self.published, self.published))

    def away(self):
        self.server.shutdown()
        self.server.server_close()

    def fetch(self):
        return self.here(FETCH, "5.10", self.cache)

    def here(self, *command, **variables):
        """Exit status and output of a command that sees this archive and its keyring only."""
        environment = dict(os.environ, APT_CONFIG=self.path("apt.conf"), **variables)
        done = run("unshare", "--mount", "--propagation", "private", "sh", "-ec", ELSEWHERE, "sh",
                   self.directory, *command, env=environment)
        return done.returncode, done.stdout

    def image(self):
        """What the last line of fetch() names."""
        status, output = self.fetch()
        assert status == 0, output
        with open(output.splitlines()[-1], encoding="utf-8") as file:
            return file.read()

    def refused(self):
        status, output = self.fetch()
        assert status != 0 and "no cloud kernel of 5.10 could be fetched" in output, output
        assert not os.path.exists(self.cache + "/5.10/boot"), output


@contextlib.contextmanager
def archive():
    with tempfile.TemporaryDirectory() as directory:
        made = Archive(directory)
        try:
            yield made
        finally:
            made.away()
            run("gpgconf", "--homedir", made.path("keys"), "--kill", "all")


def test_what_debian_signed_is_fetched():
    with archive() as debian:
        debian.add("5.10.0-7", "the older")
        debian.add("5.10.0-30", "the newer")
        debian.publish()
        assert debian.image() == "the newer"


def test_what_nobody_signed_is_no_kernel():
    with archive() as debian:
        debian.add("5.10.0-7")
        debian.publish(by=None)
        debian.refused()


def test_what_another_signed_is_no_kernel():
    with archive() as debian:
        debian.add("5.10.0-7")
        debian.publish(by="another")
        debian.refused()


def test_what_was_changed_behind_the_signature_is_no_kernel():
    with archive() as debian:
        file = debian.add("5.10.0-7")
        debian.publish()
        with open(file, "r+b") as deb:
            deb.seek(-1, os.SEEK_END)
            deb.write(b"!")
        debian.refused()


def test_a_package_that_the_archive_has_lost_is_passed_over():
    with archive() as debian:
        debian.add("5.10.0-7", "the older")
        os.unlink(debian.add("5.10.0-30"))
        debian.publish()
        assert debian.image() == "the older"


def test_apt_is_asked_once_a_day_and_missed_by_nobody_who_has_a_kernel():
    with archive() as debian:
        debian.add("5.10.0-7", "the older")
        debian.publish()
        assert debian.image() == "the older"
        debian.add("5.10.0-30", "the newer")
        debian.publish()
        debian.asked.clear()
        assert debian.image() == "the older" and not debian.asked, debian.asked
        must("touch", "-d", "2 days ago", debian.cache + "/5.10/asked")
        assert debian.image() == "the newer" and debian.asked
        must("touch", "-d", "2 days ago", debian.cache + "/5.10/asked")
        debian.away()
        status, output = debian.fetch()
        assert status == 0 and "apt cannot be asked" in output, output
        assert output.splitlines()[-1].endswith("/vmlinuz-5.10.0-30-cloud-amd64"), output


def test_without_a_kernel_its_guests_are_skipped_and_in_ci_that_is_a_failure():
    with archive() as debian:
        debian.publish()
        where = {"BUILD": debian.path("build"), "VM_CACHE": debian.cache}
        status, output = debian.here(CHECK, "5.10", "5.10:no-bpf", CHECK_SKIPS="", **where)
        assert status == 0, output
        assert "SKIPPED 5.10: no kernel could be fetched" in output, output
        assert output.splitlines()[-1] == "0 passed, 0 failed, 2 skipped", output
        status, output = debian.here(CHECK, "5.10", "5.10:no-bpf", CHECK_SKIPS="forbid", **where)
        assert status == 1 and "FAILED 5.10:no-bpf: no kernel could be fetched" in output, output
        assert output.splitlines()[-1] == "0 passed, 2 failed, 0 skipped", output


tap.main(globals())
