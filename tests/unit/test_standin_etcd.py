"""What the stand-ins' client of etcd says of faults, in the words that Go's clients were recorded to use."""

import errno
import http.client
import os
import urllib.parse

import pytest

from tests.lab.standins import etcdv2

ENDPOINT = urllib.parse.urlsplit("http://127.0.0.1:2379")


def failed(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failed(errno.ECONNREFUSED), "dial tcp 127.0.0.1:2379: connect: connection refused"),
        (failed(errno.EHOSTUNREACH), "dial tcp 127.0.0.1:2379: connect: no route to host"),
        # An etcd with TLS that is asked without: it closes, and chance decides what is seen of it first.
        (http.client.RemoteDisconnected("Remote end closed connection"), "EOF"),
        (failed(errno.ECONNRESET), "EOF"),
        (failed(errno.EPIPE), "EOF"),
    ],
)
def test_words_of_a_fault(error, words):
    assert etcdv2.go_words(error, ENDPOINT) == words
