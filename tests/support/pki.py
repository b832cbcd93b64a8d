"""Certificates for tests and the lab, made at run time and never kept in the repository."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
LOOPBACK = ("localhost", "127.0.0.1")


def make(directory, hosts=()):
    """
    Write a CA, etcd's certificate for HOSTS (names or addresses), a client's, and a foreign CA.

    Files: ca.pem, etcd.pem, calico.pem, each with its NAME-key.pem, and wrong-ca.pem, which signed
    nothing. What is there already is kept, so that a second call changes nothing.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("ca", "wrong-ca"):
        if not (directory / f"{name}.pem").exists():
            issue_ca(directory, name)
    if not (directory / "etcd.pem").exists():
        issue(directory, "etcd", client=False, hosts=[*hosts, *LOOPBACK])
    if not (directory / "calico.pem").exists():
        issue(directory, "calico")
    return directory


def client(directory, name="calico"):
    """What a client of etcd needs: ``{ca, cert, key}``, paths as text."""
    files = {"ca": "ca", "cert": name, "key": f"{name}-key"}
    return {part: f"{directory}/{file}.pem" for part, file in files.items()}


def issue_ca(directory, name="ca", days=365):
    """Write NAME.pem and NAME-key.pem: a CA that signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key, days).issuer_name(_name(name))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    _write(directory, name, key, builder.sign(key, hashes.SHA256()))


def issue(directory, name, *, ca="ca", days=365, client=True, hosts=(), begins=-1):
    """
    Write NAME.pem and NAME-key.pem, signed by CA of the same directory.

    days
        From now to the end of its validity; negative for one that has expired.
    begins
        From now to its begin, in days.
    client
        Whether it is for a client; etcd's own certificate serves both ways.
    """
    directory = Path(directory)
    ca_cert = x509.load_pem_x509_certificate((directory / f"{ca}.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((directory / f"{ca}-key.pem").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if not client:
        usage.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = _builder(name, key, days, min(begins, days - 1)).issuer_name(ca_cert.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    _write(directory, name, key, builder.sign(ca_key, hashes.SHA256()))


def _builder(name, key, days, begins=-1):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins * DAY)
        .not_valid_after(now + days * DAY)
    )


def _name(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(directory, name, key, certificate):
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(Path(directory) / f"{name}-key.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(private)
    # Last: where the certificate is, its key is, too.
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (Path(directory) / f"{name}.pem").write_bytes(pem)
