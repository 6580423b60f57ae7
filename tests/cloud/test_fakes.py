"""The fakes keep the promises that the tests built on them rely on."""

from __future__ import annotations

import http.client
from urllib.parse import quote

import pytest
from google.api_core.exceptions import PreconditionFailed
from google.cloud import storage

from tests.cloud.fakes import BUCKET, FakeCloud

EVERY_BYTE = bytes(range(256)) * 40


@pytest.fixture
def blobs(cloud: FakeCloud) -> storage.Bucket:
    return storage.Client(project="any").bucket(BUCKET)


def test_bytes_come_back_and_are_listed(cloud: FakeCloud, bucket: str):
    cloud.write(f"{bucket}/a/bytes", EVERY_BYTE)
    cloud.write(f"{bucket}/a/empty", b"")

    assert cloud.read(f"{bucket}/a/bytes") == EVERY_BYTE
    assert cloud.names(bucket) == ["a/bytes", "a/empty"]


def test_an_object_that_is_there_is_not_created_again(blobs: storage.Bucket, bucket: str):
    blob = blobs.blob(bucket.rpartition("/")[2] + "/once")
    blob.upload_from_string(b"first", if_generation_match=0)

    with pytest.raises(PreconditionFailed):
        blob.upload_from_string(b"second", if_generation_match=0)
    assert blob.download_as_bytes() == b"first"


def test_a_range_is_a_range_and_the_log_says_so(cloud: FakeCloud, blobs: storage.Bucket):
    blobs.blob("ranges").upload_from_string(EVERY_BYTE)

    assert blobs.blob("ranges").download_as_bytes(start=10, end=19) == EVERY_BYTE[10:20]
    assert cloud.calls("GET", "ranges")[-1].sent == 10


def test_what_was_written_by_another_host_is_read_here(cloud: FakeCloud, blobs: storage.Bucket):
    """TensorFlow's client writes by Google's own name, through a proxy; nobody is led out there."""
    connection = http.client.HTTPConnection(cloud.storage_url.removeprefix("http://"))
    target = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote('by/proxy', safe='')}"
    connection.request("POST", target, EVERY_BYTE, {"Host": "storage.googleapis.com"})
    assert connection.getresponse().status == 200
    connection.close()

    blob = blobs.get_blob("by/proxy")
    assert blob.media_link.startswith(cloud.storage_url + "/")
    assert blob.download_as_bytes() == EVERY_BYTE
    assert all(one.media_link.startswith(cloud.storage_url) for one in blobs.list_blobs())


@pytest.mark.slow
def test_failing_calls_are_tried_again_by_the_client(cloud: FakeCloud, blobs: storage.Bucket):
    with cloud.storage.failing(0.3):
        for number in range(6):
            blobs.blob(f"tried-{number}").upload_from_string(EVERY_BYTE)

    assert sum(cloud.storage.faults.values()) > 0
    assert all(blobs.blob(f"tried-{n}").download_as_bytes() == EVERY_BYTE for n in range(6))
