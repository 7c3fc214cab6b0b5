"""The platforms a bundle can be made for: compilers, and which of Qualcomm's libraries they need from where."""

from __future__ import annotations

from dataclasses import dataclass

from hexaquant.core.errors import InputError
from hexaquant.qnn.libraries import KNOWN_RELEASES, PACKAGE

RELEASE = next(iter(KNOWN_RELEASES))
"""Release of the wheel whose libraries fit: binaries are compiled with it."""


@dataclass(frozen=True)
class Platform:
    """One kind of device.

    ``libraries``: file names, V in them stands for the Hexagon version (V75); ``wheel``: pip's tag of the wheel that
    holds them, empty where there is none; ``toolchain``: CMake toolchain file in the bundle, empty for the PC itself;
    ``compilers``: commands that build programs for it, the first found is taken.
    """

    name: str
    title: str
    libraries: tuple[str, ...]
    wheel: str
    toolchain: str
    compilers: tuple[str, ...]
    npu: bool = True

    def library_files(self, arch: int) -> tuple[str, ...]:
        """File names of the libraries for Hexagon ``arch`` (75 for v75)."""
        return tuple(name.replace("{V}", f"V{arch}") for name in self.libraries)

    @property
    def posix(self) -> bool:
        return self.name != "windows-arm64"


_NPU = ("libQnnHtp.so", "libQnnHtp{V}Stub.so", "libQnnHtp{V}Skel.so", "libQnnSystem.so")
_WINDOWS = ("QnnHtp.dll", "QnnHtp{V}Stub.dll", "libQnnHtp{V}Skel.so", "QnnSystem.dll")

PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform(
            "linux-arm64",
            "Linux on arm64 (Dragonwing boards, Snapdragon laptops)",
            _NPU,
            "manylinux_2_34_aarch64",
            "aarch64-linux-gnu.cmake",
            ("aarch64-linux-gnu-gcc", "aarch64-unknown-linux-gnu-gcc"),
        ),
        Platform("windows-arm64", "Windows on Snapdragon", _WINDOWS, "win_arm64", "windows-arm64.cmake", ()),
        Platform("android", "Android on arm64", _NPU, "", "android.cmake", ("aarch64-linux-android30-clang",)),
        Platform(
            "host",
            "this PC, where an emulator stands for the NPU",
            ("libQnnHtp.so", "libQnnSystem.so"),
            "manylinux_2_34_x86_64",
            "",
            ("cc", "gcc", "clang"),
            npu=False,
        ),
    )
}


def find_platform(name: str) -> Platform:
    """The platform called ``name``. Raises InputError with the known names."""
    if name not in PLATFORMS:
        raise InputError(f"platform '{name}' is unknown; choose {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def wheel_command(platform: Platform) -> str:
    """The command that fetches the wheel with the libraries of ``platform``."""
    return (
        f"pip download {PACKAGE}=={RELEASE} --no-deps --only-binary=:all: "
        f"--platform {platform.wheel} --python-version 3.11"
    )
