"""`cityfleet import sites`: new, the same, other and wrong rows; run again it changes nothing."""

import csv
import json
from types import SimpleNamespace

from cityfleet.registry.v1 import site_pb2 as pb
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub
from cli.import_file import FileRow
from cli.import_sites import _Importer
from tests.support.cli import cityfleet

HEAD = "site_id,kind,display_name,ward_code,latitude,longitude,labels.owner\n"


def run(registry, path, *options):
    done = cityfleet(registry.data_dir, "import", "sites", str(path), "-o", "json", *options)
    assert done.returncode in (0, 5), done.stderr
    (summary,) = json.loads(done.stdout)
    counts = {name: summary[name] for name in ("created", "updated", "unchanged", "failed") if summary[name]}
    assert bool(summary["failed"]) == (done.returncode == 5)
    return counts, done.stderr


def site(stubs, site_id):
    return SiteServiceStub(stubs.channel).GetSite(pb.GetSiteRequest(name=f"sites/{site_id}"))


def test_sites_of_a_file_are_created_once_and_brought_to_its_state(registry, stubs, tmp_path):
    path, errors = tmp_path / "sites.csv", tmp_path / "errors.csv"
    rows = [f"bts-{at:04d},bts,Trạm {at},00070,21.0,105.8,viettel" for at in range(100)]
    path.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    assert run(registry, path, "--dry-run")[0] == {"created": 100}
    assert run(registry, path)[0] == {"created": 100}
    assert run(registry, path)[0] == {"unchanged": 100}
    found = site(stubs, "bts-0007")
    assert (found.display_name, found.ward_code, found.labels["owner"]) == ("Trạm 7", "00070", "viettel")

    path.write_text(
        HEAD
        + "bts-0000,bts,Trạm 0,00070,21.0,105.8,viettel\n"
        + "bts-0001,pole,Trạm 1,00070,21.0,105.8,viettel\n"
        + "bts-0001,bridge,Trạm 1,00070,21.0,105.8,vnpt\n"
        + "Bad,bts,,,,,\n"
        + "tower,eiffel,,70,21.0,,\n"
        + "short,bts\n",
        encoding="utf-8",
    )
    counts, _ = run(registry, path, "--errors-out", str(errors))
    assert counts == {"unchanged": 1, "failed": 5}
    with errors.open(encoding="utf-8", newline="") as file:
        reasons = [(row["row"], row["site_id"], row["field"], row["reason"]) for row in csv.DictReader(file)]
    assert reasons == [
        ("2", "bts-0001", "kind", "SITE_EXISTS_DIFFERENT"),
        ("3", "bts-0001", "kind", "SITE_EXISTS_DIFFERENT"),
        ("4", "Bad", "site_id", "SITE_ID_INVALID"),
        ("5", "tower", "kind", "KIND_UNKNOWN"),
        ("5", "tower", "ward_code", "WARD_UNKNOWN"),
        ("5", "tower", "longitude", "PLACE_INCOMPLETE"),
        ("6", "short", "", "CELLS_MISCOUNTED"),
    ]
    assert run(registry, path, "--update-existing")[0] == {"unchanged": 1, "updated": 2, "failed": 3}
    found = site(stubs, "bts-0001")
    assert (found.kind, found.labels["owner"], found.display_name) == ("bridge", "vnpt", "Trạm 1")


def test_what_is_not_in_the_file_is_left_alone(registry, stubs, tmp_path):
    path = tmp_path / "sites.ndjson"
    path.write_text('{"site_id":"cau-1","kind":"bridge","labels":{"a":"1"}}\n', encoding="utf-8")
    assert run(registry, path)[0] == {"created": 1}
    path.write_text('{"site_id":"cau-1","display_name":"Long Biên"}\n', encoding="utf-8")
    assert run(registry, path, "--update-existing")[0] == {"updated": 1}
    assert run(registry, path)[0] == {"unchanged": 1}
    found = site(stubs, "cau-1")
    assert (found.kind, found.display_name, dict(found.labels)) == ("bridge", "Long Biên", {"a": "1"})
    SiteServiceStub(stubs.channel).DeleteSite(pb.DeleteSiteRequest(name="sites/cau-1"))
    counts, said = run(registry, path)
    assert counts == {"failed": 1}
    assert "SITE_DELETED" in said


def test_each_wrong_row_among_many_is_told_and_the_others_are_made(registry, stubs, tmp_path):
    path, errors = tmp_path / "many.csv", tmp_path / "errors.csv"
    rows = [
        f"m-{at:04d},{'eiffel' if at % 7 == 0 else 'pole'},,,,,{'v' * 256 if at % 70 == 1 else ''}"
        for at in range(1234)
    ]
    rows.append("m-0002,bts,again,,,,")
    path.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    wrong = {at for at in range(1234) if at % 7 == 0 or at % 70 == 1}
    expected = {"created": 1234 - len(wrong), "failed": len(wrong) + 1}
    assert run(registry, path, "--errors-out", str(errors))[0] == expected
    with errors.open(encoding="utf-8", newline="") as file:
        told = [(int(row["row"]) - 1, row["field"], row["reason"]) for row in csv.DictReader(file)]
    assert [at for at, _, _ in told] == [*sorted(wrong), 1234]
    assert {(field, reason) for at, field, reason in told if at % 7 == 0} == {("kind", "KIND_UNKNOWN")}
    assert {(field, reason) for at, field, reason in told if at % 70 == 1} == {("labels.owner", "TEXT_TOO_LONG")}
    assert told[-1][1:] == ("kind", "SITE_EXISTS_DIFFERENT")
    counts, _ = run(registry, path, "--update-existing")
    assert counts == {"unchanged": 1234 - len(wrong), "updated": 1, "failed": len(wrong)}
    assert site(stubs, "m-0002").display_name == "again"


def test_a_site_that_somebody_makes_meanwhile_is_left_as_it_is(stubs):
    stub = SiteServiceStub(stubs.channel)
    stub.CreateSite(pb.CreateSiteRequest(site_id="meanwhile", site=pb.Site(display_name="theirs")))

    class Sites:
        """As the registry, before the other made it."""

        def BatchGetSites(self, request, timeout):
            return pb.BatchGetSitesResponse()

        def BatchUpdateSites(self, request, timeout):
            return stub.BatchUpdateSites(request, timeout=timeout)

    importer = _Importer(SimpleNamespace(sites=Sites()), update_existing=True, dry_run=False)
    rows = [
        FileRow(at, name, {"name": f"sites/{name}", "display_name": "ours"}, "", ("display_name",))
        for at, name in enumerate(("before", "meanwhile", "after"), 1)
    ]
    verdicts = importer.put(rows)
    assert [verdict.outcome for verdict in verdicts] == ["created", "failed", "created"]
    assert verdicts[1].errors[0].reason == "ETAG_MISMATCH"
    assert [site(stubs, row.resource_id).display_name for row in rows] == ["ours", "theirs", "ours"]
