"""What the server answers, and above all what it refuses."""

import http.client
import json
from urllib.parse import urlsplit

import numpy as np
import pytest

from geopretext.data.store import Store


def ask(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """As no browser would: the path goes out as it is."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    given = {"Host": urlsplit(address).netloc, **{name.replace("_", "-"): value for name, value in headers.items()}}
    for name, value in given.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def test_what_is_open(viewer: str, store, bundle) -> None:
    status, headers, content = ask(viewer, "/api/opened")
    assert status == 200
    told = json.loads(content)
    assert [(entry["id"], entry["tiles"], entry["planet"]) for entry in told["stores"]] == [
        ("tiles", len(Store.open(store)), "synthetic-1")
    ]
    assert len(told["bundles"]) == 1
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    assert not any(name.startswith("access-control") for name in headers)


def test_columns_are_the_stores(viewer: str, store) -> None:
    reader = Store.open(store)
    told = json.loads(ask(viewer, "/api/stores/tiles/columns")[2])
    assert (told["tiles"], told["places"]) == (120, 0)
    columns = {column["name"]: column for column in told["columns"]}
    for name in ("lat", "lon", "biome", "split"):
        values = np.frombuffer(ask(viewer, f"/api/stores/tiles/columns/{name}")[2], "<f4")
        np.testing.assert_allclose(values, getattr(reader.coordinates, name), rtol=1e-6)
    month = np.frombuffer(ask(viewer, "/api/stores/tiles/columns/month")[2], "<f4")
    assert [columns["month"]["classes"][int(code)] for code in month[:5]] == [
        time.strftime("%b") for time in reader.coordinates.time[:5].tolist()
    ]
    absent = np.frombuffer(ask(viewer, "/api/stores/tiles/columns/absent")[2], "<f4")
    counted = [
        sum(not present >> bit & 1 for bit in range(len(reader.modalities))) for present in reader.present.tolist()
    ]
    np.testing.assert_allclose(absent, 100 * np.array(counted) / len(reader.modalities), rtol=1e-6)


def test_a_row_says_what_it_is(viewer: str, store) -> None:
    where = Store.open(store).coordinates
    told = json.loads(ask(viewer, "/api/stores/tiles/rows/17")[2])
    assert told["name"] == where.tile_id[17]
    assert told["date"] == str(where.time[17])[:10]
    assert told["lat"] == pytest.approx(where.lat[17])


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/__init__.py",
        "/reports/..%2f..%2fetc%2fpasswd",
        "/api/stores/..%2ftiles/columns",
        "/api/stores/tiles/columns/..%2f..%2fzarr.json",
        "/api/stores/tiles/zarr.json",
        "/api/stores/tiles/tiles/-1",
        "/tiles.zarr/zarr.json",
    ],
)
def test_nothing_else_can_be_reached(viewer: str, path: str) -> None:
    status, _, content = ask(viewer, path)
    assert status == 404
    assert set(json.loads(content)) == {"what", "where", "hint"}


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/api/stores/other/columns", "no store 'other' is open"),
        ("/api/stores/tiles/columns/colour", "no column 'colour'"),
        ("/api/stores/tiles/rows/120", "no row 120"),
        ("/api/embeddings/other", "no embedding 'other' is open"),
        ("/reports/first", "no report 'first' is open"),
    ],
)
def test_unknown_ids_are_named(viewer: str, path: str, what: str) -> None:
    status, _, content = ask(viewer, path)
    assert (status, json.loads(content)["what"]) == (404, what)


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1.example.org", "localhost:1", ""])
def test_another_name_for_this_host_is_refused(viewer: str, host: str) -> None:
    assert ask(viewer, "/api/opened", Host=host)[0] in (400, 403)


def test_localhost_is_this_host(viewer: str) -> None:
    assert ask(viewer, "/api/opened", Host=f"localhost:{urlsplit(viewer).port}")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_are_refused(viewer: str, site: str) -> None:
    assert ask(viewer, "/api/opened", Sec_Fetch_Site=site)[0] == 403


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_only_reads(viewer: str, method: str) -> None:
    assert ask(viewer, "/api/opened", method)[0] == 405


def test_land_of_a_synthetic_planet_is_its_own(viewer: str) -> None:
    """Tiles lie on land, and the rings say where that is."""
    shapely = pytest.importorskip("shapely", reason="needs shapely")
    land = json.loads(ask(viewer, "/api/stores/tiles/land")[2])
    assert land["source"] == "Coastlines: of synthetic Earth 1"
    rings = [np.array(ring).reshape(-1, 2) for ring in land["rings"]]
    lat, lon = (np.frombuffer(ask(viewer, f"/api/stores/tiles/columns/{name}")[2], "<f4") for name in ("lat", "lon"))
    inside = sum(shapely.contains_xy(shapely.Polygon(ring), lon, lat).astype(int) for ring in rings) % 2
    assert inside.mean() > 0.97
    sea = np.random.default_rng(0).uniform((-180, -60), (180, 60), (4000, 2))
    assert (
        0.3 < (sum(shapely.contains_xy(shapely.Polygon(ring), *sea.T).astype(int) for ring in rings) % 2).mean() < 0.7
    )
