"""A small ext4 file system on a loop device, whose power can be cut.

The cut is the kernel's own: FS_IOC_SHUTDOWN without a flush of the log. From then on nothing reaches the device any more,
every write fails, and what was not synced is lost when the file system is mounted again."""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile

FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
CLONE_NEWNS = 0x20000
OWN = False


def run(*words):
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f'{" ".join(words)}: {done.stderr.strip()}')


def own_mounts():
    """Mounts made from now on are seen by this process and its children alone, and end with them, however they end."""
    global OWN
    libc = ctypes.CDLL(None, use_errno=True)
    if not OWN and libc.unshare(CLONE_NEWNS) == 0:
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


class Disk:
    def __init__(self, mebibytes=512):
        self.scratch = tempfile.mkdtemp(prefix='quartet-disk-', dir=os.environ.get('QUARTET_TMP'))
        self.image, self.path = os.path.join(self.scratch, 'image'), os.path.join(self.scratch, 'mnt')
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
        run('mount', '-o', 'loop', self.image, self.path)

    def unmount(self):
        run('umount', self.path)

    def cut(self):
        """The power is gone. Processes that have files open here must end before power_on()."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def power_on(self):
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
        try:
            self.unmount()
        except OSError:
            subprocess.run(['umount', '-l', self.path], check=False, capture_output=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
