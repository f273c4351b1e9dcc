from __future__ import annotations

import csv
import gzip
import io
import logging
import os
import random
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tqdm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recsys.data.summary import fingerprint, summarise

import recsys.data.datasets
import recsys.data.load
from recsys.data.frames import check_ratings
from recsys.data.load import load_items, load_ratings
from recsys.errors import DataError

HEADER = "user_id,item_id,rating,timestamp\n"
EXPECTED = check_ratings(
    pd.DataFrame(
        {
            "user_id": [1, 2, 1],
            "item_id": [10, 10, 20],
            "rating": [4.0, 3.0, 5.0],
            "timestamp": [881250949, 881250950, 881250951],
        }
    )
)


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fails(source: str | Path, message: str, **options: object) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_ratings(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------- layouts


def write_ml_100k(folder: Path) -> None:
    put(folder / "u.data", "1\t10\t4\t881250949\n2\t10\t3\t881250950\n1\t20\t5\t881250951\n")
    rest = "|14-Nov-1994||http://us.imdb.com/M/title-exact?x|"
    rows = [
        f"10|L\u00e9on (1994){rest}0|1" + "|0" * 4 + "|1" + "|0" * 12,
        f"20|Usual Suspects, The (1995){rest}1" + "|0" * 18,
    ]
    put(folder / "u.item", "\n".join([*rows, ""]).encode("latin-1"))
    put(folder / "u.user", "1|24|M|technician|85711\n")


def write_ml_1m(folder: Path) -> None:
    put(folder / "ratings.dat", "1::10::4::881250949\n2::10::3::881250950\n1::20::5::881250951\n")
    movies = "10::L\u00e9on (1994)::Action|Crime\n20::Usual Suspects, The (1995)::\n"
    put(folder / "movies.dat", movies.encode("latin-1"))
    put(folder / "users.dat", "1::F::1::10::48067\n")


def write_ml_10m(folder: Path) -> None:
    write_ml_1m(folder)
    movies = (folder / "movies.dat").read_bytes().decode("latin-1")
    put(folder / "movies.dat", movies.encode("utf-8"))
    put(folder / "tags.dat", "1::10::funny::881250949\n")


def write_ml_25m(folder: Path) -> None:
    rows = "1,10,4.0,881250949\r\n2,10,3.0,881250950\r\n1,20,5.0,881250951\r\n"
    put(folder / "ratings.csv", "userId,movieId,rating,timestamp\r\n" + rows)
    movies = (
        "movieId,title,genres\r\n10,L\u00e9on (1994),Action|Crime\r\n"
        '20,"Usual Suspects, The (1995)",(no genres listed)\r\n'
    )
    put(folder / "movies.csv", movies)
    put(folder / "tags.csv", "userId,movieId,tag,timestamp\r\n1,10,funny,881250949\r\n")


def write_recbole(folder: Path) -> None:
    rows = "1\t10\t4\t881250949\n2\t10\t3\t881250950\n1\t20\t5\t881250951\n"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    put(folder / "ml-100k.inter", header + rows)
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    movies = "10\tL\u00e9on\t1994\tAction Crime\n20\tUsual Suspects, The\t1995\tunknown\n"
    put(folder / "ml-100k.item", header + movies)


Writer = Callable[[Path], None]
LAYOUTS = [write_ml_100k, write_ml_1m, write_ml_10m, write_ml_25m, write_recbole]


def zipped(folder: Path, target: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, inside + path.name)
    return target


@pytest.mark.parametrize("write", LAYOUTS)
@pytest.mark.parametrize("place", ["here", "one folder down", "zip", "zip, one folder down"])
def test_every_layout_is_read_from_a_folder_and_a_zip(
    write: Writer, place: str, tmp_path: Path
) -> None:
    source = tmp_path / "data"
    write(source / "ml" if place == "one folder down" else source)
    if place.startswith("zip"):
        inside = "ml/" if place.endswith("down") else ""
        source = zipped(source, tmp_path / ("ml.ZIP" if inside else "ml.zip"), inside)
    pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)
    items = load_items(str(source))
    assert items["item_id"].tolist() == [10, 20]
    assert items["item_id"].dtype == "int64"
    assert items["title"].tolist() == ["L\u00e9on", "Usual Suspects, The"]
    assert items["genres"].tolist() == [("Action", "Crime"), ()]
    assert items["year"].tolist() == [1994, 1995]


@pytest.mark.parametrize("write", LAYOUTS)
def test_the_ratings_file_of_a_layout_is_read_by_itself_and_has_no_items(
    write: Writer, tmp_path: Path
) -> None:
    write(tmp_path)
    names = ("u.data", "ratings.dat", "ratings.csv", "ml-100k.inter")
    path = next(tmp_path / name for name in names if (tmp_path / name).exists())
    pd.testing.assert_frame_equal(load_ratings(path), EXPECTED)
    with pytest.raises(DataError, match="is a ratings file; it has no items table"):
        load_items(path)


def test_an_items_file_is_read_by_itself(tmp_path: Path) -> None:
    write_ml_25m(tmp_path)
    assert load_items(tmp_path / "movies.csv")["item_id"].tolist() == [10, 20]


def test_a_folder_without_an_items_table_says_so(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", HEADER)
    with pytest.raises(DataError, match=r"no items found in .*; looked for movies\.csv, .*u\.item"):
        load_items(tmp_path)


def test_ids_of_ratings_and_items_are_of_one_type_also_as_text(tmp_path: Path) -> None:
    write_ml_25m(tmp_path)
    assert load_ratings(tmp_path, text_ids=True)["item_id"].tolist() == ["10", "10", "20"]
    assert load_items(tmp_path, text_ids=True)["item_id"].tolist() == ["10", "20"]


def test_an_items_table_may_have_other_columns_and_no_titles(tmp_path: Path) -> None:
    put(tmp_path / "items.csv", "price,product_id\n3,b\n4,a\n")
    items = load_items(tmp_path)
    assert items["item_id"].tolist() == ["b", "a"]
    assert items["title"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("movies.csv", "movieId,title\n1,Heat\n2\n", r"movies\.csv', line 3: 1 fields .* be 2"),
        ("movies.csv", 'movieId,title\n1,"He\nat"\n2,Up,3\n', "line 4: 3 fields .* be 2"),
        ("movies.csv", "movieId,title\n1,Heat\n\n1,Up\n", "line 4: item '1' is there already"),
        ("movies.csv", "movieId,title\n1,Heat\nx,Up\n", "1 in line 2.*'x' in line 3"),
        ("movies.csv", "movieId,title\n1,Heat\n ,Up\n", "line 3: item_id is blank"),
        ("movies.csv", b"movieId,title\n1,L\xe9on\n", "line 2: not text in UTF-8"),
        ("movies.csv", "title\nHeat\n", "no column 'item_id'; found: 'title'"),
        ("movies.csv", "", "no items in"),
        ("movies.dat", "1::Heat (1995)\n", "line 1: 2 fields where there should be 3"),
        ("u.item", "1|Heat (1995)|x\n", "line 1: 3 fields where there should be 24"),
    ],
)
def test_a_wrong_items_table_is_an_error_with_its_line(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    put(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        load_items(tmp_path)


def test_a_trailing_comma_on_every_row_of_an_items_table_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "movies.csv", "movieId,title\n1,Heat,\n2,Up,\n")
    assert load_items(tmp_path)["title"].tolist() == ["Heat", "Up"]


def test_a_single_table_of_any_name_in_a_folder_or_zip_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    put(folder / "notes.txt", "hello")
    put(folder / ".hidden.csv", "a,b\n1,2\n")
    put(folder / "events.csv", HEADER + "1,10,4,881250949\n2,10,3,881250950\n1,20,5,881250951\n")
    pd.testing.assert_frame_equal(load_ratings(folder), EXPECTED)
    pd.testing.assert_frame_equal(load_ratings(zipped(folder, tmp_path / "x.zip")), EXPECTED)
    put(folder / "more.tsv", "a\tb\n")
    fails(folder, r"more than one ratings table; name the file: .*events\.csv', .*more\.tsv'$")


def test_two_files_of_one_layout_are_an_error_naming_both(tmp_path: Path) -> None:
    write_recbole(tmp_path)
    put(tmp_path / "test.inter", "")
    fails(tmp_path, r"more than one ratings table; name the file: .*ml-100k.*test\.inter")


def test_a_folder_or_zip_with_no_known_layout_is_an_error_that_lists_what_was_looked_for(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    put(folder / "readme.md", "hello")
    looked = r"looked for ratings\.csv, u\.data, ratings\.dat, \*\.inter or a single csv"
    fails(folder, f"no ratings found in '.*data'; {looked}")
    fails(zipped(folder, tmp_path / "x.zip"), f"no ratings found in '.*x.zip'; {looked}")


def test_members_of_a_zip_that_lead_out_of_it_are_not_read_and_nothing_is_unpacked(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../ratings.csv", "a/../../ratings.csv", "/ratings.csv", "..//ratings.csv"):
            archive.writestr(name, HEADER + "1,10,4,881250949\n")
        archive.writestr("__MACOSX/ratings.csv", "x")
    fails(tmp_path / "evil.zip", "no ratings found")
    with zipfile.ZipFile(tmp_path / "evil.zip", "a") as archive:
        archive.writestr("ml/ratings.csv", HEADER + "1,10,4,881250949\n")
    assert len(load_ratings(tmp_path / "evil.zip")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


# ---------------------------------------------------------------------------- names


def test_a_name_is_fetched_and_a_path_of_that_name_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_ml_25m(tmp_path / "fetched")
    monkeypatch.setattr(recsys.data.datasets, "fetch", lambda name: tmp_path / "fetched")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "ml-1m" / "ratings.csv", HEADER + "7,10,4,881250949\n")
    with caplog.at_level(logging.INFO, logger="recsys.data.load"):
        assert load_ratings("ml-1m")["user_id"].tolist() == [1, 2, 1]
    assert "for the path of that name write './ml-1m'" in caplog.messages[0]
    assert load_items("ml-1m")["item_id"].tolist() == [10, 20]
    for path in ("./ml-1m", Path("ml-1m"), str(tmp_path / "ml-1m")):
        assert load_ratings(path)["user_id"].tolist() == [7]


def test_the_sample_is_there_by_name() -> None:
    ratings, items = load_ratings("sample"), load_items("sample")
    assert len(ratings) > 1000
    assert set(ratings["item_id"]) <= set(items["item_id"])


def test_a_path_that_is_missing_is_an_error_of_one_line_that_lists_the_names(
    tmp_path: Path,
) -> None:
    for missing in (tmp_path / "no.csv", "no-such-data", ""):
        fails(missing, r"is no file or folder, nor the name of a data set \(sample, .*ml-100k.*\)$")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = put(tmp_path / "data" / "ratings.csv", HEADER)
    path.chmod(0)
    fails(path, r"ratings\.csv' cannot be read: Permission denied$")
    path.parent.chmod(0)
    try:
        fails(path.parent, "data' cannot be read: Permission denied$")
    finally:
        path.parent.chmod(0o700)


def test_an_error_of_the_system_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "ratings.csv", HEADER)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    fails(path, r"^'.*ratings\.csv' cannot be read: Permission denied$")


def test_what_was_read_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path / "r.csv", HEADER + "1,10,4,881250949\n" * 2)
    with caplog.at_level(logging.INFO, logger="recsys"):
        ratings = load_ratings(path)
    dropped, summary = caplog.messages
    assert dropped == f"'{path}': 1 exact duplicate rows dropped"
    assert summary == f"{path}: {summarise(ratings)}"
    assert summary.endswith("1 rating by 1 user on 1 item, 1997-12-04 to 1997-12-04; 0% share a "
                            "timestamp with another rating of the same user")  # fmt: skip


# ---------------------------------------------------------------------------- text files


@pytest.mark.parametrize("delimiter", ["\t", ";", "|", "::", ","])
@pytest.mark.parametrize("header", ["userId,movieId,rating,timestamp\n", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_delimiters_headers_line_ends_and_a_byte_order_mark_are_recognised(
    delimiter: str, header: str, end: str, mark: bytes, tmp_path: Path
) -> None:
    text = header + "1,10,4,881250949\n2,10,3,881250950\n1,20,5,881250951\n"
    text = text.replace(",", delimiter).replace("\n", end)
    pd.testing.assert_frame_equal(
        load_ratings(put(tmp_path / "r.txt", mark + text.encode())), EXPECTED
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".dat", ".txt", ".inter", ".CSV", ""])
def test_the_name_of_a_text_file_does_not_matter(suffix: str, tmp_path: Path) -> None:
    path = put(tmp_path / f"r{suffix}", HEADER + "1,10,4,881250949\n")
    assert len(load_ratings(path)) == 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("1,10\n2,20\n", ["user_id", "item_id"]),
        ("1,10,4\n2,20,5\n", ["user_id", "item_id", "rating"]),
        ("1,10,4.5,881250949\n", ["user_id", "item_id", "rating", "timestamp"]),
        ("1,10,4,881250949,9\n", ["user_id", "item_id", "rating", "timestamp"]),
        ("-1 , 10,4.5e0\n", ["user_id", "item_id", "rating"]),
        ("\n\n1,10\n", ["user_id", "item_id"]),
    ],
)
def test_without_a_header_columns_go_by_position(
    text: str, columns: list[str], tmp_path: Path
) -> None:
    assert list(load_ratings(put(tmp_path / "r.csv", text))) == columns


@pytest.mark.parametrize(
    "text", ["", "\n\n", HEADER, HEADER.strip(), HEADER + "\n", "\ufeff" + HEADER]
)
def test_an_empty_file_or_only_a_header_is_no_ratings(text: str, tmp_path: Path) -> None:
    fails(put(tmp_path / "r.csv", text), r"^no ratings in '.*r\.csv'$")


def test_a_missing_column_is_named_with_those_found_and_can_be_mapped(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", "who,what\n1,10\n")
    message = (
        r"r\.csv' has no column 'user_id'; found: 'who', 'what'; name it by user_col= \(--user"
    )
    fails(path, message)
    assert len(load_ratings(path, user_col="who", item_col="what")) == 1
    fails(path, "no column 'whom' as user_col=", user_col="whom", item_col="what")


def test_rating_and_time_columns_can_be_mapped(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", "uid,item,date,how,when\n1,10,x,4,881250949\n")
    ratings = load_ratings(path, rating_col="how", timestamp_col="when")
    pd.testing.assert_frame_equal(ratings, EXPECTED.iloc[:1])


def test_other_columns_are_ignored_whatever_is_in_them(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", b"tag,user_id,item_id,tag\nL\xe9on,1,10,007\n,2,10,nan\n")
    assert load_ratings(path)["user_id"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "1,10,4,881250949,\n2,10,3,881250950,\n1,20,5,881250951,\n",
        HEADER.strip() + ",\n1,10,4,881250949,\n2,10,3,881250950,\n1,20,5,881250951,\n",
        HEADER + "1,10,4,881250949,,\n2,10,3,881250950,,\n1,20,5,881250951,,\n",
        "1,10,4,881250949,\n2,10,3,881250950,\n1,20,5,881250951,\n",
    ],
)
def test_a_trailing_comma_on_every_row_never_shifts_columns(text: str, tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(load_ratings(put(tmp_path / "r.csv", text)), EXPECTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,10,4,5\n2,10,3\n", "line 3: 3 fields where there should be 4$"),
        (HEADER + "1,10,4,5\n\n\r\n2,10,3,6,7\n", "line 5: 5 fields where there should be 4$"),
        ("\n" + HEADER + "1,10,4,5\n2,10\n", "line 4: 2 fields where there should be 4$"),
        ("user,item,tag\n1,10,a\n2,10\n", "line 3: 2 fields where there should be 3$"),
        ('user,item\na,"b\nc"\nd\n', "line 4: 1 fields where there should be 2$"),
        ("1::10::4::5\n2::10::4\n", "line 2: 3 fields where there should be 4$"),
        ("1,10,4,5\n2,10,4\n", "line 2: 3 fields where there should be 4$"),
        (HEADER + "1,10,4,5\nx\n", "line 3: 1 fields where there should be 4$"),
        (HEADER + "0,1,10,4,5\n", "line 2: 5 fields where there should be 4$"),
        ('user,item\na,b\n"a,b\n', "line 3: 1 fields where there should be 2$"),
    ],
)
def test_a_row_of_too_many_or_too_few_fields_is_an_error_with_its_line(
    text: str, message: str, tmp_path: Path
) -> None:
    fails(put(tmp_path / "r.csv", text), rf"r\.csv', {message}")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (HEADER.encode("utf-16"), 1),
        (HEADER.encode("utf-16-le"), 1),
        (HEADER.encode("utf-16-be"), 1),
        (HEADER.encode() + "L\u00e9a,10,4,5\n".encode("latin-1"), 2),
        (HEADER.encode() + b"a,10,4,5\n\nL\xe9a,10,4,5\n", 4),
        (b"user;\xff;item\n", 1),
    ],
)
def test_bytes_that_are_not_utf8_are_an_error_with_the_line_and_a_hint(
    data: bytes, line: int, tmp_path: Path
) -> None:
    message = rf"r\.csv', line {line}: not text in UTF-8; it may be in UTF-16 or latin-1: save it"
    fails(put(tmp_path / "r.csv", data), message)


# ---------------------------------------------------------------------------- ids, ratings, times


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (["2", "1"], [2, 1]),
        (["2.0", "1.0"], [2, 1]),
        (["-2", "3000000000"], [-2, 3_000_000_000]),
        ([" 2", "1 "], [2, 1]),
        (["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
        (["9223372036854775808", "1"], [2**63, 1]),
        (["18446744073709551616", "1"], ["18446744073709551616", "1"]),
        (["007", "12"], ["007", "12"]),
        (["12", "007"], ["12", "007"]),
        (["-007", "12"], ["-007", "12"]),
        (["0", "10"], [0, 10]),
        (["0x1f", "0x2"], ["0x1f", "0x2"]),
        (["NA", "null"], ["NA", "null"]),
        (["nan", "NaN"], ["nan", "NaN"]),
        (["a b", " c "], ["a b", " c "]),
        (["\u00e9\u4e2d\U0001f600", "b"], ["\u00e9\u4e2d\U0001f600", "b"]),
        (['"a,b"', '"c""d"'], ["a,b", 'c"d']),
        (['a"b', "it's"], ['a"b', "it's"]),
        (['"a\nb"', "c"], ["a\nb", "c"]),
        (['"007"', '"12"'], ["007", "12"]),
        (["x" * 10_000, "y"], ["x" * 10_000, "y"]),
    ],
)
def test_ids_come_back_as_they_were_written_and_as_numbers_where_nothing_is_lost(
    users: list[str], expected: list[object], tmp_path: Path
) -> None:
    path = put(tmp_path / "r.csv", "user,item\n" + "".join(f"{user},1\n" for user in users))
    assert load_ratings(path)["user_id"].tolist() == expected
    as_text = load_ratings(path, text_ids=True)["user_id"]
    assert as_text.dtype == "str"
    if isinstance(expected[0], str):
        assert as_text.tolist() == expected
    else:
        assert as_text.tolist() == users


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (["1", ""], "line 3: user_id is blank"),
        (["a", " ", ""], "lines 3, 4: user_id is blank"),
        (["1", '""'], "line 3: user_id is blank"),
        (["1.0", "2.5"], "line 3: user_id 2.5 is not a whole number"),
        (["1", "x"], r"user_id mixes numbers \(1 in line 2\) and text \('x' in line 3\)"),
        (
            ["NA", "7"],
            r".*\(7 in line 3\) and text \('NA' in line 2\); .* text_ids=True \(--text-ids",
        ),
    ],
)
def test_ids_that_are_blank_or_mixed_are_an_error_with_their_lines(
    users: list[str], message: str, tmp_path: Path
) -> None:
    path = put(tmp_path / "r.csv", "user,item\n" + "".join(f"{user},1\n" for user in users))
    fails(path, rf"r\.csv'(, |: ){message}")


def test_mixed_ids_are_read_as_text_on_request_and_blank_ones_never(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", "user,item\n1,01\nx,2\n")
    ratings = load_ratings(path, text_ids=True)
    assert ratings["user_id"].tolist() == ["1", "x"]
    assert ratings["item_id"].tolist() == ["01", "2"]
    fails(put(path, "user,item\n1,01\n,2\n"), "line 3: user_id is blank", text_ids=True)


def test_the_line_of_a_bad_row_counts_blank_lines_and_lines_in_quotes(tmp_path: Path) -> None:
    text = '\nuser,item\n\n"a\n\nb",1\nc,2\n\n,3\n'
    fails(put(tmp_path / "r.csv", text), "line 9: user_id is blank")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,10,,5", "line 3: rating '' is not a number of 0 or more"),
        ("1,10,NaN,5", "line 3: rating 'nan' is not"),
        ("1,10,inf,5", "line 3: rating 'inf' is not"),
        ("1,10,-1,5", "line 3: rating '-1.0' is not"),
        ("1,10,good,5", "line 3: rating 'good' is not"),
        ('1,10,"3,5",5', "line 3: rating '3,5' is not"),
        ("1,10,4,0", "line 3: timestamp '0' is no time after 1970.*--split last-out"),
        ("1,10,4,-5", "line 3: timestamp '-5' is no time"),
        ("1,10,4,", "line 3: timestamp '' is no time"),
        ("1,10,4,NaN", "line 3: timestamp 'NaN' is no time"),
        ("1,10,4,soon", "line 3: timestamp 'soon' is no time"),
        ("1,10,4,881250949000", "881250948 in line 2 is in seconds, 881250949000 in line 3 in mil"),
    ],
)
def test_a_rating_or_time_that_is_none_is_an_error_with_its_line(
    row: str, message: str, tmp_path: Path
) -> None:
    fails(put(tmp_path / "r.csv", f"{HEADER}1,9,4,881250948\n{row}\n"), message)


@pytest.mark.parametrize(
    "time",
    [
        "881250949.7",
        "881250949000",
        "881250949000000",
        "881250949000000000",
        "1997-12-04T15:55:49Z",
        "1997-12-04 15:55:49.9",
        "1997-12-04 16:55:49+01:00",
        " 881250949",
    ],
)
def test_times_in_other_units_and_as_iso_text_are_recognised(time: str, tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", f"{HEADER}1,10,4,{time}\n")
    pd.testing.assert_frame_equal(load_ratings(path), EXPECTED.iloc[:1])


def test_views_without_ratings_and_times_are_accepted_in_row_order(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", "user,item\n2,20\n1,10\n2,20\n")
    ratings = load_ratings(path)
    assert ratings.to_numpy().tolist() == [[2, 20], [1, 10], [2, 20]]


def test_one_rating_is_enough_to_load(tmp_path: Path) -> None:
    assert len(load_ratings(put(tmp_path / "r.csv", "1,1,1,1\n"))) == 1


# ---------------------------------------------------------------------------- block by block


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recsys.data.load, "_BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("delimiter", [",", "::"])
def test_a_file_of_many_blocks_is_read_whole(delimiter: str, tmp_path: Path) -> None:
    rows = [(user, user * 7, user % 5 + 0.5, 881250949 + user) for user in range(500)]
    text = "".join(delimiter.join(map(str, row)) + "\n" for row in rows)
    ratings = load_ratings(put(tmp_path / "r.dat", text))
    assert ratings["item_id"].tolist() == [row[1] for row in rows]
    assert ratings["rating"].tolist() == [row[2] for row in rows]


@pytest.mark.usefixtures("small_blocks")
def test_line_ends_in_quotes_may_fall_on_the_end_of_a_block(tmp_path: Path) -> None:
    users = [f"{'a' * (1 + i % 20)}\nb" for i in range(200)]
    text = "user,item\n" + "".join(f'"{user}",1\n' for user in users)
    assert load_ratings(put(tmp_path / "r.csv", text))["user_id"].tolist() == users


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("quote_all", [True, False])
def test_quotes_commas_and_line_ends_in_ids_survive_any_block(
    quote_all: bool, tmp_path: Path
) -> None:
    draw = random.Random(7)
    users = ["plain"] + ["".join(draw.choices('ab"\n, x', k=9)) + "!" for _ in range(2000)]
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting).writerows([["user", "item"], *([user, 1] for user in users)])
    ratings = load_ratings(put(tmp_path / "r.csv", text.getvalue()))
    assert ratings["user_id"].tolist() == list(dict.fromkeys(users))


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.parquet"])
def test_no_thread_of_pyarrow_reads_from_a_python_object(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that still reads when an error has ended the rest crashes the interpreter.
    frame = pd.DataFrame({"user": range(300_000), "item": range(300_000)})
    frame.to_parquet(tmp_path / name) if name == "r.parquet" else frame.to_csv(
        tmp_path / name, index=False
    )
    readers: list[threading.Thread] = []

    class Watched(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            readers.append(threading.current_thread())
            return super().read(size)

    def opened(path: Path, mode: str) -> Watched:
        return Watched(io.FileIO(path, mode))

    monkeypatch.setattr(Path, "open", opened)
    assert len(load_ratings(tmp_path / name)) == 300_000
    assert readers or name == "r.parquet"  # opened by pyarrow itself
    assert not [reader for reader in readers if isinstance(reader, threading._DummyThread)]


def test_quotes_mean_nothing_in_recbole_and_double_colon_files(tmp_path: Path) -> None:
    recbole = put(tmp_path / "r.inter", 'user_id:token\titem_id:token\n"a\tb"\n"c\td\n')
    colons = put(tmp_path / "r.dat", 'user::item\n"a::b"\n"c::d\n')
    for path in (recbole, colons):
        ratings = load_ratings(path)
        assert ratings["user_id"].tolist() == ['"a', '"c']
        assert ratings["item_id"].tolist() == ['b"', "d"]


@pytest.mark.usefixtures("small_blocks")
def test_colons_in_ids_survive_a_double_colon_delimiter(tmp_path: Path) -> None:
    items = [f"a:{'b' * (1 + i % 20)}:c" for i in range(200)]
    text = "user::item\n" + "".join(f"{i}::{item}\n" for i, item in enumerate(items))
    assert load_ratings(put(tmp_path / "r.dat", text))["item_id"].tolist() == items


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("x,1", r"mixes numbers \(10 in line 2\) and text \('x' in line 102\)"),
        (",1", "line 102: user_id is blank"),
        ("1", "line 102: 1 fields where there should be 2"),
        ("\udcff,1", "line 102: not text in UTF-8"),
        ("007,1", ["10", "007"]),
        ("9223372036854775808,1", [10, 2**63]),
        ("7.0,1", [10, 7]),
    ],
)
def test_the_last_block_decides_with_the_others(
    last: str, expected: str | list[object], tmp_path: Path
) -> None:
    text = "user,item\n" + "10,1\n" * 100 + last + "\n"
    path = put(tmp_path / "r.csv", text.encode("utf-8", "surrogateescape"))
    if isinstance(expected, str):
        fails(path, expected)
    else:
        assert load_ratings(path)["user_id"].tolist() == [expected[0]] * 100 + [expected[1]]


@pytest.mark.usefixtures("small_blocks")
def test_a_row_longer_than_a_block_is_an_error_that_asks_for_an_open_quote(tmp_path: Path) -> None:
    path = put(tmp_path / "r.csv", 'user,item\na,"b\n' + "c,d\n" * 100)
    fails(path, "has a row longer than 64 bytes; is a quote never closed")


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "::"])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("odd", ["007", "0x1f", "00", "-007"])
def test_an_id_that_would_lose_its_zeros_stays_text_wherever_it_stands(
    odd: str, column: int, delimiter: str, tmp_path: Path
) -> None:
    for row in (0, 1, 7, 50):  # one of them at the beginning of the file
        rows = [[str(n), str(n + 100), "0.5", str(881250949 + n)] for n in range(1, 52)]
        rows[row][column] = odd
        lines = [delimiter.join(row) + "\n" for row in [["user", "item", "rating", "time"], *rows]]
        path = put(tmp_path / "r.dat", "".join(lines))
        if odd == "0x1f":
            fails(path, "mixes numbers")
        else:
            found = load_ratings(path)[("user_id", "item_id")[column]]
            assert found.tolist() == [r[column] for r in rows]


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.zip"])
def test_a_bar_counts_the_bytes_on_the_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = []

    class Bar(tqdm.tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object) -> None:
            assert options["delay"] == 2
            assert options["disable"] is None
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    text = HEADER + "".join(f"{n},{n},4,881250949\n" for n in range(99_999))
    path = put(tmp_path / "ratings.csv", text)
    if name == "r.zip":
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "ratings.csv")
    elif name == "r.csv.gz":
        put(tmp_path / name, gzip.compress(path.read_bytes()))
    else:
        path.rename(tmp_path / name)
    assert len(load_ratings(tmp_path / name)) == 99_999
    size = (tmp_path / name).stat().st_size
    assert [bar.total for bar in bars] == [size]
    assert 0.9 * size <= bars[0].n <= 1.1 * size + 2**16  # a zip's contents are read too


# ---------------------------------------------------------------------------- gz, zip, parquet


def parquet(path: Path, table: pd.DataFrame) -> Path:
    table.to_parquet(path)
    return path


ROWS = HEADER + "1,10,4,881250949\n2,10,3,881250950\n1,20,5,881250951\n"


def test_gz_files_are_read_also_in_folders_and_zips(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    path = put(folder / "ratings.csv.gz", gzip.compress(ROWS.encode()))
    for source in (path, folder, zipped(folder, tmp_path / "x.zip")):
        pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)


@pytest.mark.parametrize("name", ["r.parquet", "r.pq"])
def test_parquet_is_read_also_in_folders_and_zips(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    table = pd.DataFrame(
        {"tag": "x", "date": EXPECTED["timestamp"], "score": [4, 3, 5], "uid": [1, 2, 1]}
    ).assign(movieId=[10, 10, 20])
    path = parquet(folder / name, table.set_index("tag"))
    for source in (path, folder, zipped(folder, tmp_path / "x.zip")):
        pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)
    assert load_ratings(path, text_ids=True)["user_id"].tolist() == ["1", "2", "1"]


def test_bad_rows_of_parquet_are_named_by_their_row(tmp_path: Path) -> None:
    path = parquet(tmp_path / "r.parquet", pd.DataFrame({"user": ["a", None], "item": [1, 2]}))
    fails(path, r"r\.parquet', row 2: user_id is missing")
    fails(path, "no column 'who' as user_col=", user_col="who")


def big() -> str:
    ids = np.random.default_rng(0).integers(1, 10**9, (20_000, 2)).tolist()
    return HEADER + "".join(f"{user},{item},3,881250949\n" for user, item in ids)


@pytest.mark.parametrize("kind", ["gz", "zip", "parquet"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_an_error(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / f"r.csv.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(big().encode()))
    elif kind == "zip":
        zipped(put(tmp_path / "data" / "ratings.csv", big()).parent, path)
    else:
        parquet(path, EXPECTED)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    empty = "no ratings in" if kind == "gz" and share == 0 else "is corrupt or cut short"
    fails(path, empty)


def test_a_zip_with_a_flipped_byte_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("ratings.csv", ROWS)
    data = (tmp_path / "x.zip").read_bytes()
    put(tmp_path / "x.zip", data.replace(b"1,10,4", b"1,10,5"))
    fails(tmp_path / "x.zip", "is corrupt or cut short.*CRC")


@pytest.mark.parametrize("name", ["r.csv.gz", "r.zip", "r.parquet"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(name: str, tmp_path: Path) -> None:
    fails(put(tmp_path / name, ROWS), "is corrupt or cut short, get it again: ")


# ---------------------------------------------------------------------------- properties

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8
).filter(str.strip)
whole = st.integers(-(2**63), 2**63 - 1)


@given(
    users=st.one_of(st.lists(texts, min_size=1), st.lists(whole, min_size=1)),
    delimiter=st.sampled_from([",", "\t", ";", "|"]),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_ids_written_by_pandas_come_back(
    users: list[str] | list[int], delimiter: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.csv"
    table = pd.DataFrame({"user_id": users, "item_id": [f"i{i}" for i in range(len(users))]})
    table.to_csv(path, index=False, sep=delimiter)
    as_text = load_ratings(path, text_ids=True)
    assert as_text["user_id"].tolist() == [str(user) for user in users]
    if isinstance(users[0], int):
        assert load_ratings(path)["user_id"].tolist() == users
    pd.testing.assert_series_equal(as_text["item_id"], table["item_id"])


@given(
    rows=st.lists(
        st.tuples(whole, whole, st.floats(0, 100, width=32), st.integers(1, 10**10)), min_size=1
    )
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_checked_frame_comes_back_from_csv_and_parquet(
    rows: list[tuple[int, int, float, int]], tmp_path: Path
) -> None:
    names = ["user_id", "item_id", "rating", "timestamp"]
    checked = check_ratings(pd.DataFrame(rows, columns=names))
    numbers = checked.assign(timestamp=checked["timestamp"].astype("int64"))
    numbers.to_csv(tmp_path / "r.csv", index=False)
    pd.testing.assert_frame_equal(load_ratings(tmp_path / "r.csv"), checked)
    parquet(tmp_path / "r.parquet", checked)
    pd.testing.assert_frame_equal(load_ratings(tmp_path / "r.parquet"), checked)


# ---------------------------------------------------------------------------- real data


def test_ml_100k_has_its_known_numbers(ml_100k: pd.DataFrame) -> None:
    assert str(summarise(ml_100k)) == (
        "100,000 ratings by 943 users on 1,682 items, 1997-09-20 to 1998-04-22; 76% share a "
        "timestamp with another rating of the same user"
    )
    assert ml_100k.dtypes.astype("str").tolist() == [
        "int64",
        "int64",
        "float32",
        "datetime64[s, UTC]",
    ]


def test_ml_100k_is_the_same_in_the_official_layout(ml_100k: pd.DataFrame, tmp_path: Path) -> None:
    shuffled = ml_100k.sample(frac=1, random_state=0)
    official = shuffled.assign(
        rating=shuffled["rating"].astype("int64"), timestamp=shuffled["timestamp"].astype("int64")
    )
    official.to_csv(tmp_path / "u.data", sep="\t", header=False, index=False)
    assert fingerprint(load_ratings(tmp_path)) == fingerprint(ml_100k)


def test_ml_100k_has_all_its_items(ml_100k: pd.DataFrame) -> None:
    items = load_items("ml-100k").set_index("item_id")
    assert len(items) == 1682
    assert set(ml_100k["item_id"]) == set(items.index)
    assert items.loc[1, ["title", "genres", "year"]].tolist() == [
        "Toy Story",
        ("Animation", "Children's", "Comedy"),
        1995,
    ]
    assert items["year"].isna().sum() == 2
    assert items["title"].str.contains("Usual Suspects, The").any()
