"""Leads TensorFlow's own gs:// client here: its hosts are fixed, but it keeps to a proxy.

A proxy on loopback answers for Google's hosts with a certificate of its own, and passes on to the
gateway. tf.Transform reads and writes its graph so, on Dataflow and off it.
"""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.cloud.gateway import Answer, Gateway, GatewayHandler, QuietServer

HOSTS = ("storage.googleapis.com", "www.googleapis.com")


@contextmanager
def tls_proxy(gateway: Gateway, folder: Path) -> Iterator[dict[str, str]]:
    """Starts it; gives the environment that leads a process's TensorFlow through it."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Secure(GatewayHandler):
        def _send(self, answer: Answer, *, whole: bool) -> None:
            headers = {k: v.replace("http://", "https://") for k, v in answer.headers.items()}
            super()._send(Answer(answer.status, headers, answer.body), whole=whole)

    Secure.gateway = gateway

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response_only(200)
            self.end_headers()
            host = self.path.partition(":")[0]
            assert host in HOSTS, host
            with context.wrap_socket(self.connection, server_side=True) as secure:
                Secure(secure, self.client_address, self.server)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = QuietServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "https_proxy": f"http://127.0.0.1:{server.server_port}",
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(certificate),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "made-up",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "1",
        }
    finally:
        server.shutdown()
        server.server_close()


def _certificate(folder: Path) -> Path:
    """A certificate for Google's hosts, and its key, in one file; good for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        certificate.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption())
    )
    return path
