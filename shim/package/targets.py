"""What Lambda's systems have themselves, so that it is known what a package must bring.

Nobody promises this list; each fact is what can be read in these places:

- glibc 2.34 and 2.26: AWS's own words on provided.al2023 (github.com/aws/aws-lambda-base-images, issue 92), and aws/aws-lambda-builders, pull
  request 752, for the Python runtimes.
- The libraries in /lib64 of public.ecr.aws/lambda/provided, al2023 and al2, for both architectures: github.com/brefphp/aws-lambda-layers,
  utils/lib-copy/libs-x86.txt (2024) and libs-arm.txt (2025), and, of 2022, utils/lib-check/al2-x64.txt and libs-arm.txt at commits 9b32a3a and
  6288203. The runtimes for zip packages have fewer than the images: utils/lib-copy/copy-dependencies.php there names some that were missed
  (libgcrypt, libassuan, libgobject-2.0, libgpg-error, libgpgme), and aws-samples/aws-lambda-layer-kubectl, issue 37, another (libpython2.7).
  Hence the difference between `has` and `shows`.
- libstdc++ and libgcc_s: the script named above leaves them out of every layer of Bref's, which run on the runtimes for zip packages. How new
  they are: libstdc++.so.6.0.29 (GCC 11) in the older al2023 list; the images have GCC 14's since 2025, yet functions lacked GLIBCXX_3.4.30 then
  (amazonlinux/container-images, issue 132); libstdc++.so.6.0.24 (GCC 7) in al2. Which versions those have: GCC's manual of libstdc++, "ABI
  Policy and Guidelines".
- Commands: github.com/ryanblock/lambda-shell-commands listed those of live functions until August 2021 (_nodejs14.x.md, _python3.8.md: al2). For
  al2023, the packages of public.ecr.aws/lambda/python:3.12 (amazonlinux/amazon-linux-2023, issue 585): bash, coreutils-single, gawk, grep.
- Which runtime is built on which system, and where its language lives: docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html, and the
  Dockerfiles in github.com/aws/aws-lambda-base-images (PATH begins with /var/lang/bin).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shim.elf import glibc_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}
"""glibc's loader for each of Lambda's architectures. There is none of musl's."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


GLIBC_FAMILY = _names(
    "ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 libBrokenLocale.so.1 libSegFault.so libanl.so.1 libc.so.6 libc_malloc_debug.so.0 libcidn.so.1"
    " libdl.so.2 libm.so.6 libmvec.so.1 libnsl.so.1 libnss_compat.so.2 libnss_dns.so.2 libnss_files.so.2 libnss_hesiod.so.2 libpthread.so.0"
    " libresolv.so.2 librt.so.1 libthread_db.so.1 libutil.so.1"
)
"""What glibc consists of. Its parts work only with one another, of one build: all of them are bundled, with the loader, or none."""

_GLIBC = (
    "libBrokenLocale.so.1 libanl.so.1 libc.so.6 libdl.so.2 libm.so.6 libnss_compat.so.2 libnss_dns.so.2 libnss_files.so.2 libpthread.so.0"
    " libresolv.so.2 librt.so.1 libthread_db.so.1 libutil.so.1"
)
_COMPILER = "libgcc_s.so.1 libstdc++.so.6"
_ODD_VERSIONS = frozenset({"CXXABI_FLOAT128", "CXXABI_TM_1"})
"""Versions of libstdc++ without a number, older than GCC 7."""


@dataclass(frozen=True, slots=True)
class Target:
    """A system on which Lambda runs functions."""

    name: str
    glibc: tuple[int, int]
    always: frozenset[str]
    """Libraries, by the names under which they are needed, that every runtime of it has in /lib64, for both architectures."""
    images: frozenset[str]
    """Libraries that its container images have besides. A runtime for zip packages may lack any of them."""
    newest: Mapping[str, tuple[int, ...]]
    """The family of a library's versions → the newest of them that is there: GLIBCXX → 3.4.29."""

    def has(self, library: str, architecture: str) -> bool:
        """Whether every runtime of it has that library, so that a package need not bring it."""
        on_x86_64 = {"libmvec.so.1"} if architecture == "x86_64" else set()  # arm64 has it since glibc 2.38
        return (
            library in self.always
            or library in on_x86_64
            or library == LOADERS.get(architecture, "").rpartition("/")[2]
        )

    def shows(self, library: str) -> bool:
        """Whether it was seen in its images, so that a program may find it there, and had better bring its own."""
        return library in self.images

    def lacks(self, version: str) -> bool:
        """Whether a needed version of a library of its own (`has`) is newer than what is there.

        GLIBC_PRIVATE is always lacking: only parts of the same build of glibc have it in common.
        """
        family, _, number = version.partition("_")
        if family == "GLIBC":
            release = glibc_of(version)
            return release is None or release > self.glibc
        if version in _ODD_VERSIONS:
            return False
        if family not in self.newest or not re.fullmatch(r"\d{1,9}(\.\d{1,9}){0,9}", number):
            return True
        return tuple(map(int, number.split("."))) > self.newest[family]

    def loader(self, architecture: str) -> str:
        """The loader that a program for that architecture must name."""
        return LOADERS[architecture]


AL2023 = Target(
    name="al2023",
    glibc=(2, 34),
    always=_names(f"{_GLIBC} {_COMPILER} libc_malloc_debug.so.0"),
    images=_names(
        "libacl.so.1 libarchive.so.13 libattr.so.1 libaudit.so.1 libauparse.so.0 libblkid.so.1 libbz2.so.1 libcap-ng.so.0 libcap.so.2"
        " libcom_err.so.2 libcrypto.so.3 libcurl.so.4 libdnf.so.2 libdrop_ambient.so.0 libffi.so.8 libform.so.6 libformw.so.6 libgio-2.0.so.0"
        " libgirepository-1.0.so.1 libglib-2.0.so.0 libgmodule-2.0.so.0 libgmp.so.10 libgssapi_krb5.so.2 libgssrpc.so.4 libgthread-2.0.so.0"
        " libhistory.so.8 libidn2.so.0 libjson-c.so.5 libk5crypto.so.3 libkdb5.so.10 libkeyutils.so.1 libkrad.so.0 libkrb5.so.3"
        " libkrb5support.so.0 liblua-5.4.so liblz4.so.1 liblzma.so.5 libmagic.so.1 libmenu.so.6 libmenuw.so.6 libmodulemd.so.2 libmount.so.1"
        " libmpfr.so.6 libncurses.so.6 libncursesw.so.6 libnghttp2.so.14 libnpth.so.0 libp11-kit.so.0 libpanel.so.6 libpanelw.so.6"
        " libpcre2-8.so.0 libpcre2-posix.so.3 libpeas-1.0.so.0 libpopt.so.0 libpsx.so.2 libreadline.so.8 librepo.so.0 librpm.so.9 librpmio.so.9"
        " libselinux.so.1 libsepol.so.2 libsigsegv.so.2 libsmartcols.so.1 libsolv.so.1 libsolvext.so.1 libsqlite3.so.0 libssl.so.3 libtasn1.so.6"
        " libtic.so.6 libtinfo.so.6 libunistring.so.2 libuuid.so.1 libverto.so.1 libxml2.so.2 libyaml-0.so.2 libz.so.1 libzstd.so.1"
    ),
    newest={"GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (11, 4, 1)},
)
AL2 = Target(
    name="al2",
    glibc=(2, 26),
    always=_names(f"{_GLIBC} {_COMPILER} libcidn.so.1 libnsl.so.1"),
    images=_names(
        "libacl.so.1 libattr.so.1 libbz2.so.1 libcap.so.2 libcom_err.so.2 libcrypt.so.1 libcrypto.so.10 libcurl.so.4 libdb-5.3.so libelf.so.1"
        " libffi.so.6 libform.so.6 libformw.so.6 libgmp.so.10 libgmpxx.so.4 libgssapi_krb5.so.2 libgssrpc.so.4 libhistory.so.6 libicudata.so.50"
        " libicui18n.so.50 libicuio.so.50 libicuuc.so.50 libidn2.so.0 libk5crypto.so.3 libkdb5.so.8 libkeyutils.so.1 libkrad.so.0 libkrb5.so.3"
        " libkrb5support.so.0 liblber-2.4.so.2 libldap-2.4.so.2 libldap_r-2.4.so.2 liblua-5.1.so liblzma.so.5 libmenu.so.6 libmenuw.so.6"
        " libncurses.so.6 libncursesw.so.6 libnghttp2.so.14 libnspr4.so libnss3.so libnssutil3.so libp11-kit.so.0 libpanel.so.6 libpanelw.so.6"
        " libpcre.so.1 libpcre16.so.0 libpcre32.so.0 libpcrecpp.so.0 libpcreposix.so.0 libplc4.so libplds4.so libpopt.so.0 libreadline.so.6"
        " librpm.so.3 librpmio.so.3 libsasl2.so.3 libselinux.so.1 libsepol.so.1 libsmime3.so libsqlite3.so.0 libssh2.so.1 libssl.so.10 libssl3.so"
        " libtasn1.so.6 libtic.so.6 libtinfo.so.6 libunistring.so.0 libuuid.so.1 libverto.so.1 libxml2.so.2 libz.so.1"
    ),
    newest={"GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 3, 1)},
)
TARGETS = {target.name: target for target in (AL2023, AL2)}

RUNTIMES = {
    "python3.11": AL2,
    "python3.12": AL2023,
    "python3.13": AL2023,
    "python3.14": AL2023,
    "provided.al2": AL2,
    "provided.al2023": AL2023,
}
"""Lambda's runtimes, by their identifiers, on which an executable and `shim` may run."""

INTERPRETERS = frozenset(
    f"{folder}/{name}" for folder in ("/bin", "/usr/bin") for name in ("sh", "bash", "env", "awk", "gawk")
)
"""What every runtime of both targets has for a script's first line. /bin is a link to /usr/bin. Neither has perl, nor a python there."""


def interpreters(runtime: str) -> frozenset[str]:
    """The programs that a script's first line may name in that runtime. The language's own lives in /var/lang/bin, and comes first on its PATH."""
    if not runtime.startswith("python"):
        return INTERPRETERS
    return INTERPRETERS | {f"/var/lang/bin/{name}" for name in ("python", "python3", runtime)}
