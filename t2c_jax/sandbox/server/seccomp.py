"""A filter of system calls (seccomp): what a program has no use for, and what the file system's rules do not cover.

The filter lists what is refused. A refused call fails with "operation not permitted", as it would for any user who may
not make it. A call of another instruction set kills the program, since its numbers mean something else.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable

from t2c_jax.sandbox.server import kernel

# Numbers on x86-64 and on AArch64; None where the architecture has no such call.
_KERNEL = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "io_uring_setup": (425, 425),  # its operations bypass filters of system calls
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "memfd_secret": (447, 447),
}
# Objects that outlive a program where programs share a namespace.
_SHARED = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
# Other processes of the user, where no pid namespace hides them.
_PROCESSES = {
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
}
_SIGNALS = {
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
# Landlock has no rules for a file's mode, owner, times and attributes.
_METADATA = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_PRLIMIT, _SET_AFFINITY, _SET_TIMES = (302, 261), (203, 122), (280, 88)

_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_PR_SET_SECCOMP, _FILTER_MODE = 22, 2


class Filter:
    """A compiled filter.

    Args:
      shared: programs share namespaces with each other.
      outside: the user's other processes and files are in the same namespaces. Sockets are then refused altogether;
        otherwise only families that no network namespace covers, such as virtual machines' sockets.
      signals: refuse all signals, where nothing else keeps a program from sending them to others.
      metadata: refuse changes of a file's mode, owner, times and attributes.

    Raises:
      OSError: the machine's instruction set is unknown here.
    """

    def __init__(self, *, shared: bool = False, outside: bool = False, signals: bool = False, metadata: bool = False):
        if kernel.MACHINE not in _ARCHITECTURES:
            raise OSError(errno.ENOSYS, f"no list of system calls for {kernel.MACHINE}")
        self._column, architecture = _ARCHITECTURES[kernel.MACHINE]
        denied = dict(_KERNEL)
        for wanted, more in ((shared, _SHARED), (outside, _PROCESSES), (signals, _SIGNALS), (metadata, _METADATA)):
            denied |= more if wanted else {}
        code = [
            _step(_LOAD, _ARCHITECTURE_OFFSET),
            _step(_EQUAL, architecture, 1, 0),
            _step(_RETURN, _KILL),
            _step(_LOAD, _NUMBER_OFFSET),
        ]
        if kernel.MACHINE == "x86_64":
            code += [_step(_AT_LEAST, _X32_BIT, 0, 1), _step(_RETURN, _KILL)]
        for numbers in denied.values():
            code += self._refuse(numbers)
        # glibc falls back to clone, whose flags are in a register and can be looked at.
        code += self._refuse(_CLONE3, errno.ENOSYS)
        code += self._refuse_if(_CLONE, 0, _step(_ANY_BIT, _NAMESPACE_FLAGS, 0, 1))
        if outside:
            code += self._refuse(_SOCKET)
            code += self._refuse_if(_PRLIMIT, 0, _step(_EQUAL, 0, 1, 0))
            code += self._refuse_if(_SET_AFFINITY, 0, _step(_EQUAL, 0, 1, 0))
        else:
            code += self._only_families((_AF_UNIX, _AF_INET, _AF_INET6))
        if metadata:
            # `touch` of a new file sets the times of an open descriptor. It has the present time already.
            code += self._refuse_if(_SET_TIMES, 1, _step(_EQUAL, 0, 1, 0))
            code += self._refuse(_SET_TIMES, 0)
        code.append(_step(_RETURN, _ALLOW))
        self._code = ctypes.create_string_buffer(b"".join(code), 8 * len(code))
        self._program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(self._code)))

    def install(self) -> None:
        """Applies the filter to this process and all that it starts. ``no_new_privs`` must be set."""
        kernel.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(self._program))

    def _refuse(self, numbers: tuple[int | None, int | None], error: int = errno.EPERM) -> list[bytes]:
        number = numbers[self._column]
        return [] if number is None else [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERROR | error)]

    def _refuse_if(self, numbers: tuple[int, int], argument: int, condition: bytes) -> list[bytes]:
        """Refuses the call if the condition does not skip the next step. Looks at 32 bits of the argument."""
        return self._with(numbers, [_step(_LOAD, _ARGUMENTS_OFFSET + 8 * argument), condition, _REFUSED])

    def _only_families(self, families: Iterable[int]) -> list[bytes]:
        steps = [_step(_LOAD, _ARGUMENTS_OFFSET)]
        remaining = list(families)
        while remaining:
            steps.append(_step(_EQUAL, remaining.pop(), len(remaining) + 1, 0))
        return self._with(_SOCKET, [*steps, _REFUSED])

    def _with(self, numbers: tuple[int, int], steps: list[bytes]) -> list[bytes]:
        return [_step(_EQUAL, numbers[self._column], 0, len(steps) + 1), *steps, _step(_LOAD, _NUMBER_OFFSET)]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


_REFUSED = _step(_RETURN, _ERROR | errno.EPERM)
