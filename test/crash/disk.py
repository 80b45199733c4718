"""A small ext4 file system on a loop device, whose power can be cut.

The cut is the kernel's own: FS_IOC_SHUTDOWN without a flush of the log. From then on nothing reaches the device any more,
every write fails, and what was not synced is lost when the file system is mounted again."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
CLONE_NEWNS = 0x20000
LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4  # Linux 5.8
SYS_CACHESTAT = 451  # the same number everywhere; Linux 6.5
PAGE = os.sysconf('SC_PAGE_SIZE')
LIBC = ctypes.CDLL(None, use_errno=True)
BUSY_SECONDS_MAX = 5
OWN = False


def run(*words):
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f'{" ".join(words)}: {done.stderr.strip()}')


def own_mounts():
    """Mounts made from now on are seen by this process and its children alone, and end with them, however they end."""
    global OWN
    if not OWN and LIBC.unshare(CLONE_NEWNS) == 0:
        OWN = True
        run('mount', '--make-rprivate', '/')


def why_not():
    """Why disks cannot be made here; None when they can."""
    if os.geteuid():
        return 'needs root, for mounting'
    for tool in ('mkfs.ext4', 'mount', 'umount'):
        if not shutil.which(tool) and not shutil.which(tool, path='/usr/sbin:/sbin'):
            return f'needs {tool}'
    try:
        disk = Disk(8)
        disk.close()
    except OSError as e:
        return f'no loop device or ext4 here: {e}'
    return None


def skipped(what, counts):
    """True, after saying so, when disks cannot be made here; `counts`: what the stage owes, as zeros."""
    why = why_not()
    if why:
        print(f'SKIPPED {what}: {why}')
        print(f'summary: {counts} skipped=1')
    return bool(why)


def lying(paths):
    """The words of a tracer under which a command's syncs of these files do nothing: a disk that lies about flushes."""
    words = ['strace', '-D', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=fdatasync,fsync', '-e',
             'inject=fdatasync,fsync:retval=0']
    return words + [word for path in paths for word in ('-P', path)]


def journals(store):
    """The files of a store's journal, also those that it will make."""
    return [os.path.join(store, f'journal-{n:04}') for n in range(10)]


def not_written(fd):
    """Bytes of this file that are in memory and not on the device; None when the kernel does not tell."""
    whole, out = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if LIBC.syscall(SYS_CACHESTAT, fd, whole, out, 0) != 0:
        return None
    return (out[1] + out[2]) * PAGE  # dirty, or being written


def loop_device(image):
    """A free loop device with this file behind it, opened; it goes with the last who has it open."""
    info = struct.pack('5Q4I', *(0,) * 8, LO_FLAGS_AUTOCLEAR) + bytes(64 + 64 + 32 + 16)
    with open('/dev/loop-control', 'rb') as control, open(image, 'r+b') as file:
        while True:
            device = f'/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}'
            fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, struct.pack('II', file.fileno(), 0) + info + bytes(64))
                return device, fd
            except OSError as e:
                os.close(fd)
                if e.errno != errno.EBUSY:  # else somebody was quicker
                    raise


class Disk:
    def __init__(self, mebibytes=512):
        self.scratch = tempfile.mkdtemp(prefix='quartet-disk-', dir=os.environ.get('QUARTET_TMP'))
        self.image, self.path = os.path.join(self.scratch, 'image'), os.path.join(self.scratch, 'mnt')
        self.watched = []
        os.mkdir(self.path)
        try:
            own_mounts()
            with open(self.image, 'wb') as f:
                f.truncate(mebibytes << 20)
            run('mkfs.ext4', '-q', '-F', '-m', '0', self.image)
            self.mount()
        except OSError:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise

    def mount(self):
        """As `mount -o loop`, but quicker: on a new loop device each time, which goes when it is unmounted. On one that
        stays open the kernel would remember what was never written, and the cut would not be one."""
        device, fd = loop_device(self.image)
        try:
            if LIBC.mount(device.encode(), self.path.encode(), b'ext4', 0, None) != 0:
                raise OSError(f'mount {device}: {os.strerror(ctypes.get_errno())}')
        finally:
            os.close(fd)

    def unmount(self):
        """The kernel may close the last files of a process that has ended a moment later: that is waited for."""
        end = time.monotonic() + BUSY_SECONDS_MAX
        while LIBC.umount2(self.path.encode(), 0) != 0:
            if ctypes.get_errno() != errno.EBUSY or time.monotonic() > end:
                raise OSError(f'umount {self.path}: {os.strerror(ctypes.get_errno())}')
            time.sleep(0.01)

    def cut(self):
        """The power is gone. Processes that have files open here must end before power_on(). One whose fdatasync of a
        growing file is under way may be told success, and yet the file's new size is lost (Linux 6.18, one cut in five):
        a process that would act on that beyond this file system must be sent SIGKILL first."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def watch(self):
        """Opens the files that are there now: a cut leaves no way to open them, but says of them what was not written.
        What only processes share, and nobody ever syncs, does not count."""
        self.forget()
        for folder, _, names in os.walk(self.path):
            for name in (n for n in names if not n.endswith('-shm')):
                try:
                    self.watched.append(os.open(os.path.join(folder, name), os.O_RDONLY))
                except OSError:
                    pass  # it is gone already

    def lost(self):
        """After a cut: the bytes of the watched files that it took; None when the kernel does not tell."""
        sizes = [not_written(fd) for fd in self.watched]
        return None if None in sizes else sum(sizes)

    def forget(self):
        while self.watched:
            os.close(self.watched.pop())

    def power_on(self):
        self.forget()
        self.unmount()
        self.mount()

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def fill(self, name='filler', leave=0):
        """Takes all free space but `leave` bytes."""
        with open(os.path.join(self.path, name), 'ab') as f:
            size = 1 << 24
            while size >= 1024:
                if self.free() - leave < size:
                    size //= 4
                    continue
                try:
                    os.posix_fallocate(f.fileno(), f.seek(0, 2), size)
                except OSError:
                    size //= 4

    def unfill(self, name='filler'):
        os.unlink(os.path.join(self.path, name))

    def close(self):
        self.forget()
        try:
            self.unmount()
        except OSError:
            subprocess.run(['umount', '-l', self.path], check=False, capture_output=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
