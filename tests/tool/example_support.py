"""Starting the examples, for their tests."""

import os
import signal
import subprocess


def path(name):
    return os.path.join(os.environ["TERN_BUILD_DIR"], "src", "example_" + name)


class Server:
    """An example that prints where it listens; ended at the end of the with block."""

    def __init__(self, name, *arguments):
        self.process = subprocess.Popen([path(name), *arguments], stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if words[:2] != ["listening", "on"]:
            raise AssertionError(f"{name} said {words}")
        self.address = words[2]

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self, signal_number=signal.SIGTERM):
        self.process.send_signal(signal_number)
        rest = self.process.stdout.read()
        return self.process.wait(timeout=60), rest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
