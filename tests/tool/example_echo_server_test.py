#!/usr/bin/env python3
"""The echo server answers, lets go of what its clients leave behind, survives running out of file numbers, and ends when told."""

import resource
import socket
import struct
import subprocess
import time
import unittest

import example_support


def comes_true(condition):
    for _ in range(6000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def receive(s, size):
    data = b""
    while len(data) < size and (part := s.recv(size - len(data))):
        data += part
    return data


class EchoServer(unittest.TestCase):
    def connect(self, server):
        return socket.create_connection(("127.0.0.1", server.port), timeout=60)

    def test_echo_half_close_reset_and_end(self):
        with example_support.Server("echo_server") as server:
            clients = [self.connect(server) for _ in range(50)]
            for i, c in enumerate(clients):
                c.sendall(b"hello %d" % i)
            for i, c in enumerate(clients):
                self.assertEqual(receive(c, len(b"hello %d" % i)), b"hello %d" % i)
            own = server.files() - len(clients)  # all that it opens is there by now
            clients[0].shutdown(socket.SHUT_WR)
            self.assertEqual(clients[0].recv(1), b"")
            for c in clients[1:20]:  # resets
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for c in clients[:40]:
                c.close()
            self.assertTrue(comes_true(lambda: server.files() == own + 10))
            self.assertEqual(server.end(), (0, "bye\n"))  # with 10 clients connected
            for c in clients[40:]:
                c.close()

    def test_no_file_number_left(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
        try:
            server = example_support.Server("echo_server")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with server:
            clients = [self.connect(server) for _ in range(30)]
            clients[0].sendall(b"first")
            self.assertEqual(receive(clients[0], 5), b"first")
            clients[29].sendall(b"last")  # waits in the listener's queue
            self.assertTrue(comes_true(lambda: server.files() == 20))
            for c in clients[:20]:
                c.close()
            self.assertEqual(receive(clients[29], 4), b"last")
            for c in clients[20:]:
                c.close()

    def test_an_address_that_is_none(self):
        done = subprocess.run([example_support.path("echo_server"), "nowhere"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)


unittest.main()
