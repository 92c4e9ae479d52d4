#!/usr/bin/env python3
"""The file server's answers, over one connection and many; bad requests; slow clients do not keep others waiting."""

import http.client
import os
import socket
import tempfile
import threading
import unittest

import example_support


class FileServer(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.large = os.urandom(1 << 20)
        for name, content in (("index.html", b"<p>hello"), ("large", self.large), ("empty", b"")):
            with open(os.path.join(self.folder.name, name), "wb") as f:
                f.write(content)
        os.mkdir(os.path.join(self.folder.name, "sub"))
        os.symlink("/etc/passwd", os.path.join(self.folder.name, "link"))
        self.server = example_support.Server("file_server", self.folder.name)
        self.addCleanup(self.server.__exit__)

    def raw(self, text):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as s:
            s.sendall(text)
            answer = b""
            while part := s.recv(65536):
                answer += part
            return answer

    def test_one_connection_for_all(self):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for path, status, body in (("/", 200, b"<p>hello"), ("/large", 200, self.large), ("/empty", 200, b""),
                                   ("/none", 404, b"not found\n"), ("/sub", 404, b"not found\n"),
                                   ("/../x", 404, b"not found\n"), ("/link", 404, b"not found\n"), ("/?q=1", 200, b"<p>hello")):
            c.request("GET", path)
            r = c.getresponse()
            self.assertEqual((r.status, r.read()), (status, body), path)
        c.request("HEAD", "/large")
        r = c.getresponse()
        self.assertEqual((r.status, r.getheader("Content-Length"), r.read()), (200, str(len(self.large)), b""))
        c.close()

    def test_pipelined(self):
        get = b"GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = self.raw(get * 3 + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 4)
        self.assertEqual(answer.count(b"<p>hello"), 4)

    def test_what_is_no_request(self):
        for text, status in ((b"hello\r\n\r\n", b"400"), (b"GET / HTTP/2\r\n\r\n", b"400"), (b"GET x HTTP/1.1\r\n\r\n", b"400"),
                             (b"PUT / HTTP/1.1\r\n\r\n", b"405"), (b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"400"),
                             (b"GET / HTTP/1.1\r\nx: " + b"y" * 20000, b"431")):
            try:
                answer = self.raw(text)
            except (ConnectionResetError, BrokenPipeError):  # it has answered before it has read all
                continue
            self.assertEqual(answer.split(b" ")[1], status, text[:40])

    def test_slow_clients(self):
        slow = [socket.create_connection(("127.0.0.1", self.server.port), timeout=60) for _ in range(50)]
        for s in slow:
            s.sendall(b"GET / HTTP/1.1\r\nHo")
        results = []

        def fetch():
            c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            for _ in range(10):
                c.request("GET", "/")
                results.append(c.getresponse().read())
            c.close()

        threads = [threading.Thread(target=fetch) for _ in range(5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(results, [b"<p>hello"] * 50)
        for s in slow:
            s.close()


unittest.main()
