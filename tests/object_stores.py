"""Object stores on this machine, behind HTTP, as a process that tests start: ``python object_stores.py gs``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http import HTTPStatus, server
from typing import Any


def google() -> int:
    """gcp-storage-emulator, and what TensorStore wants of Google's store beside: generations, and writes by them."""
    from gcp_storage_emulator import server as emulator
    from gcp_storage_emulator.exceptions import NotFound

    alone = threading.Lock()

    def with_generations(handler: Callable[..., None]) -> Callable[..., None]:
        def handle(request: Any, response: Any, storage: Any) -> None:
            def generation() -> int:
                try:
                    name = request.params.get("object_id") or request.query["name"][0]
                    return int(storage.get_file_obj(request.params["bucket_name"], name)["generation"])
                except (KeyError, NotFound):
                    return 0

            with alone:
                wanted = request.query.get("ifGenerationMatch")
                if wanted and int(wanted[0]) != generation():
                    response.status = HTTPStatus.PRECONDITION_FAILED
                    return
                handler(request, response, storage)
                if found := generation():
                    response["x-goog-generation"] = str(found)

        return handle

    for _, methods in emulator.HANDLERS:
        methods.update({method: with_generations(handler) for method, handler in methods.items()})
    store = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    ports = []

    class Server(server.ThreadingHTTPServer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            ports.append(self.server_port)

    server.HTTPServer = Server  # its own takes one client at a time
    store.start()
    return ports[0]


def amazon() -> int:
    """moto."""
    import boto3
    from moto.server import ThreadedMotoServer

    store = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    store.start()
    port = store.get_host_and_port()[1]
    options = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **options).create_bucket(Bucket="bucket")
    return port


if __name__ == "__main__":
    print({"gs": google, "s3": amazon}[sys.argv[1]](), flush=True)
    sys.stdin.readline()
