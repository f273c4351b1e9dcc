"""What `load_ratings` and `load_items` make of files: one table, then what a table cannot say.

The names of the rows begin with the number of the kind of bad input; test_bad_inputs.py looks that
every kind is tried. Every error must be the same line from Python and from `recsys train`.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import logging
import lzma
import random
import tarfile
import threading
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recsys.data.datasets
import recsys.data.files
import recsys.data.text
from recsys import DataError, load_items, load_ratings
from recsys.__main__ import main
from recsys.data.files import replace_whole
from recsys.data.frames.ratings import check_ratings
from tests.counts import count

HEADER = "user_id,item_id,rating,timestamp\n"
ROWS = "1,10,4,881250949\n2,10,3,881250950\n1,20,5,881250951\n"
NAMES = HEADER.strip().split(",")
EXPECTED = check_ratings(pd.read_csv(io.StringIO(HEADER + ROWS)))


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def fails(source, message, **options):
    """Say that a source is refused, in one line; return the line."""
    count("bad inputs tried")
    with pytest.raises(DataError, match=message) as error:
        load_ratings(source, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    return str(error.value)


# fmt: off


def case(name, content, expected, file="r.csv", **options):
    """Make a row: what a file holds, and the user ids, columns or frame it gives, or an error."""
    return pytest.param(file, content, expected, options, id=name)


def users(*ids):
    return "user,item\n" + "".join(f"{user},1\n" for user in ids)


def second(row):
    return f"{HEADER}1,9,4,881250948\n{row}\n"


KINDS = "user,item,kind,rating\n1,1,view,\n\n2,2,buy,4\n"
TIMED = ["user_id", "item_id", "timestamp"]
BOM, LINE = "\ufeff", r"r\.csv', line "
NO_UTF8 = "not text in UTF-8; it may be in UTF-16 or latin-1: save it as UTF-8$"
TABLE = [
    case("01 missing", "who,item,stars\n1,10,3\n",
         r"r\.csv' has no column 'user_id'; found: 'who', 'item', 'stars'; name it by user_col= "
         r"\(--user-col\)$"),
    case("01 mapped", "who,what\n7,10\n", [7], user_col="who", item_col="what"),
    case("01 mapped to nothing", "who,item\n1,2\n", r"no column 'whom' as user_col= \(--user",
         user_col="whom"),
    case("01 rating and time", "uid,item,date,how,when\n1,10,x,4,881250949\n", EXPECTED[:1],
         rating_col="how", timestamp_col="when"),
    case("01 others", b"tag,user_id,item_id,tag\nL\xe9on,1,10,007\n,2,10,nan\n", [1, 2]),
    *(case(f"02 {names}", f"{names}\n881250949,4,10,1\n", EXPECTED[:1]) for names in (
        "timestamp,rating,item,user", "time,score,item_id,user_id", "ts,stars,itemId,userId",
        "date,RATING,movie_id,uid", "Time,Score,movieId,USER_ID", "Date,STARS,Product_ID,Uid")),
    *(case(f"{number} {delimiter} {bool(header)}",
           mark + (header + ROWS).replace(",", delimiter).replace("\n", end), EXPECTED)
      for number, mark, end in (("03 06", "", "\n"), ("04", BOM, "\r\n"))
      for header in ("userId,movieId,rating,timestamp\n", "")
      for delimiter in ("\t", ";", "|", "::", ",")),
    *(case(f"05 {name}", HEADER.encode(name), LINE + f"1: {NO_UTF8}")
      for name in ("utf-16", "utf-16-le", "utf-16-be")),
    case("05 latin-1", HEADER.encode() + b"a,1,4,5\n\nL\xe9a,10,4,5\n", LINE + f"4: {NO_UTF8}"),
    case("05 in the header", b"user;\xff;item\n", LINE + f"1: {NO_UTF8}"),
    *(case(f"06 {text!r}", text, dict(zip(NAMES, columns, strict=False))) for text, columns in (
        ("1,10\n2,20\n", ([1, 2], [10, 20])), ("1,10,4\n2,20,5\n", ([1, 2], [10, 20], [4, 5])),
        ("1,10,4,881250949,9\n", ([1], [10], [4], [881250949])), ("\n\n1,10\n", ([1], [10])),
        ("-1 , 10,4.5e0\n", ([-1], [10], [4.5])), ("1,1,1,1\n", ([1], [1], [1], [1])))),
    *(case(f"06 {text!r}", text, dict(zip(names, columns, strict=True)))
      for text, names, columns in (
        ("1,10,881250949\n2,20,881250950\n", TIMED, ([1, 2], [10, 20], [881250949, 881250950])),
        ("1,10,20240131\n", TIMED, ([1], [10], [1706659200])),
        ("1,10,881250949000\n", TIMED, ([1], [10], [881250949])),
        ("1,10,45322.5\n", TIMED, ([1], [10], [1706702400])),
        ("1,10,2024-01-31\n", TIMED, ([1], [10], [1706659200])),
        ("1;10;4;2024-01-31T00:00:00Z\n", NAMES, ([1], [10], [4], [1706659200])),
        ("1,10,4,\n2,20,5,\n", NAMES[:3], ([1, 2], [10, 20], [4, 5])),
        ("1,10,,\n2,20,,\n", NAMES[:2], ([1, 2], [10, 20])),
        ("1,10,1000\n2,20,7\n", NAMES[:3], ([1, 2], [10, 20], [1000, 7])))),
    *(case(f"06 {text!r}", text, message) for text, message in (
        ("1,10,,881250949\n2,20,5,881250950\n", LINE + "1: rating '' is not a number"),
        ("1,10,4,\n2,20,5,881250950\n", LINE + "1: timestamp '' is not a time"),
        ("1,10,,\n2,20,5,881250950\n", LINE + "1: rating '' is not a number"),
        ("1,,4,5\n2,20,5,6\n", LINE + "1: item_id is blank"),
        (",10,4,5\n2,20,5,6\n", LINE + "1: user_id is blank"),
        ("1,10\n2,20,5,881250950\n", LINE + "2: 4 fields where there should be 2"),
        ("1,10,881250949,4\n2,20,881250950,5\n", "third column is the rating, but looks like"))),
    *(case(f"07 {text!r}", text, r"^no ratings in '.*r\.csv'$")
      for text in ("", "\n \n", HEADER, HEADER.strip(), HEADER + "\n", BOM + HEADER)),
    *(case(f"08 {header[-3:]!r} {end!r}", header + ROWS.replace("\n", end), EXPECTED)
      for end in (",\n", ",,\n") for header in (HEADER, HEADER.replace("\n", end), "")),
    *(case(f"09 {text[-9:]!r}", text, LINE + f"{line}: {n} fields where there should be {wanted}$")
      for text, line, n, wanted in (
        (HEADER + "1,10,4,5\n2,10,3\n", 3, 3, 4), (HEADER + "1,1,4,5\n\n\r\n2,1,3,6,\n", 5, 5, 4),
        ("\n" + HEADER + "1,10,4,5\n2,10\n", 4, 2, 4), ("user,item,tag\n1,10,a\n2,10\n", 3, 2, 3),
        ('user,item\na,"b\nc"\nd\n', 4, 1, 2), ("1::10::4::5\n2::10::4\n", 2, 3, 4),
        ("1,10,4,5\n2,10,4\n", 2, 3, 4), (HEADER + "1,10,4,5\nx\n", 3, 1, 4),
        (HEADER + "0,1,10,4,5\n", 2, 5, 4),
        (HEADER + ROWS + "1,30,4,5,9,9\n", 5, 6, 4), (HEADER + ROWS + "1,30,4,5,\n", 5, 5, 4))),
    *(case(f"09 {text[-9:]!r}", text, LINE + f"{line}: a quote in this row is never closed$")
      for text, line in (
        ('user,item\na,b\n"a,b\n', 3), ('user,item,tag\n1,2,"x\n3,4,y\n5,6,z\n', 2),
        ('user;item;tag\n1;2;x\n\n3;4;"y', 4))),
    *(case(f"09 odd quote {at} {sign}", text.replace(",", sign), [*range(1, 5 - (at > 3))])
      for sign in "\t|" for at, text in enumerate((
        'user,item,tag\n1,"5 inch,x\n2,b,y\n3,c,z\n4,d,\n', 'user,item\n1,5" b\n2,b\n3,c\n4,d\n',
        'user,item,tag\n1,b,"x\n2,b,y" z\n3,c,\n4,d,\n', 'user,item\n1,"5" b\n2,"b"\n3,c\n4,d',
        'user,item,tag\n1,b,"x\n9,y"\n2,b,"y"\n3,c,z\n'))),
    *(case(f"10 {blank!r}", users("a", blank, "b", blank), "lines 3, 5: user_id is blank; every")
      for blank in ("", "  ", '""', "\u00a0")),
    case("10 beside numbers", users(1, ""), "line 3: user_id is blank; every row needs one$"),
    case("10 as text", users(1, "", 2), "line 3: user_id is blank", text_ids=True),
    case("10 below blank lines", '\nuser,item\n\n"a\n\nb",1\nc,2\n\n,3\n', "line 9: user_id is"),
    *(case(f"11 {word}", users(word, "x"), [word, "x"])
      for word in ("NA", "null", "nan", "None", "N/A", "inf", "TRUE")),
    case("11b mixed", users(1, "x"), r"r\.csv': user_id mixes numbers \(1 in line 2\) and text "
         r"\('x' in line 3\); .* text_ids=True \(--text-ids\)$"),
    case("11b text first", users("NA", 7), r"\(7 in line 3\) and text \('NA' in line 2\)"),
    case("11b as text", users(1, "01", "x"), ["1", "01", "x"], text_ids=True),
    *(case(f"12 {ids[0][:9]!r}", users(*ids), ids) for ids in (
        ["a b", " c "], ["\u00e9\u4e2d\U0001f600", "b"], ['a"b', "it's"], ["007", "12"],
        ["12", "007"], ["-007", "12"], ["0x1f", "0x2"], ["x" * 10_000, "y"])),
    case("12 quoted", users('"a,b"', '"c""d"', '"a\nb"'), ["a,b", 'c"d', "a\nb"]),
    *(case(f"12 in {name}", text, {"user_id": ['"a', '"c'], "item_id": ['b"', "d"]}, name)
      for name, text in (("r.inter", 'user_id:token\titem_id:token\n"a\tb"\n"c\td\n'),
                         ("r.dat", 'user::item\n"a::b"\n"c::d\n'))),
    case("12 quoted zeros", users('"007"', '"12"'), ["007", "12"]),
    *(case(f"13 {ids[0]}", users(*ids), ids) for ids in (
        [2, 1], [0, 10], [-2, 2**40], [-(2**63), 2**63 - 1], [2**63, 1], [2**64 - 1, 1],
        [2**53, 2**53 + 1], [str(2**64), "1"])),
    case("13 beside spaces", users(" 2", "1 "), [2, 1]),
    case("14 whole", users("2.0", "1."), [2, 1]),
    case("14 not whole", users("1.0", "2.5"), LINE + "3: user_id 2.5 is not a whole number; ids"),
    case("15 duplicates", HEADER + ROWS + ROWS, EXPECTED),
    case("16 two times", HEADER + "1,10,4,100\n1,10,4,200\n",
         {"user_id": [1, 1], "item_id": [10, 10], "rating": [4, 4], "timestamp": [100, 200]}),
    *(case(f"19 {time}", f"{HEADER}1,10,4,{time}\n", EXPECTED[:1]) for time in (
        "881250949.7", "881250949000", "881250949000000", "881250949000000000", " 881250949",
        "1997-12-04T15:55:49Z", "1997-12-04 15:55:49.9", "1997-12-04 16:55:49+01:00")),
    case("19 mixed", second("1,10,4,881250949000"),
         r"881250948 in line 2 is in seconds, 881250949000 in line 3 in milliseconds$"),
    *(case(f"20 {time!r}", second(f"1,10,4,{time}"),
           LINE + f"3: timestamp '{time}' is not a time after 1970 .* --split last-out$")
      for time in ("0", "-5", "", "NaN", "soon")),
    *(case(f"21 {rating!r}", second(f"1,10,{rating},5"),
           LINE + f"3: rating '{shown}' is not a number of 0 or more{hint}$")
      for rating, shown, hint in (
        ("", "", ""), ("NaN", "nan", ""), ("inf", "inf", ""), ("-inf", "-inf", ""),
        ("-1", "-1.0", r"; rating_scale= \(--rating-scale\) states a scale with negative ones"),
        ("1e39", ".*", ""), ("good", "good", ""), ("true", "true", ""), ('"3,5"', "3,5", ""))),
    case("21 out of scale", second("1,10,5.5,5"), "rating '5.5' is not a number from 1 to 5$",
         rating_scale=(1.0, 5.0)),
    case("21 in scale", second("1,10,5.5,5"), [1, 1], rating_scale=(0.5, 5.5)),
    *(case(f"21 {low} to 1", "user,item,rating\n1,9,-1\n2,9,1\n",
           {"user_id": [1, 2], "item_id": [9, 9], "rating": [-1, 1]}, rating_scale=(low, 1))
      for low in (-1, -2.5)),
    *(case(f"22 only {only}", KINDS + "3,3, buy ,5\n4,4,Cart,1\n", expected, only=only)
      for only, expected in (
        ({"kind": "buy"}, [2, 3]), ({"kind": "buy", "rating": "4"}, [2]), ({"rating": 5.0}, [3]),
        ({"kind": ["buy", "cart"]}, [2, 3, 4]), ({"kind": np.array(["buy", "cart"])}, [2, 3, 4]),
        ({"user": 3, "kind": "buy"}, [3]))),
    case("22 only a set", KINDS + "4,4,Cart,1\n", [2, 4], only={"kind": {"buy", "cart"}}),
    *(case(f"22 only {only}", KINDS + "3,3,buy,x\n", message, only=only) for only, message in (
        ({"kind": "sell"}, "no row has 'sell' as 'kind', but such as 'view', 'buy'$"),
        ({"king": "buy"}, r"no column 'king' as only= \(--only\) says; found: 'user', "),
        ({"kind": "buy"}, LINE + "5: rating 'x' is not"),
        ({"kind": "view", "user": "2"}, r"no row has all that only= \(--only\) asks for$"))),
    case("22 no ratings", "user,item,ts\n1,9,5\n",
         {"user_id": [1], "item_id": [9], "timestamp": [5]}),
    case("22 nor times", "user,item\n2,4\n1,9\n2,4\n",
         {"user_id": [2, 1, 2], "item_id": [4, 9, 4]}),
]
ITEMS = [  # name of the file, its content, and the error or the titles
    ("movies.csv", "movieId,title\n1,Heat\n2\n", r"movies\.csv', line 3: 1 fields .* be 2$"),
    ("movies.csv", 'movieId,title\n1,"He\nat"\n2,Up,3\n', "line 4: 3 fields .* be 2$"),
    ("movies.csv", "movieId,title\n1,Heat\n\n1,Up\n", "line 4: item '1' is listed twice$"),
    ("movies.csv", "movieId,title\n1,Heat\nx,Up\n", "1 in line 2.*'x' in line 3"),
    ("movies.csv", "movieId,title\n1,Heat\n ,Up\n", "line 3: item_id is blank"),
    ("movies.csv", b"movieId,title\n1,L\xe9on\n", "line 2: not text in UTF-8"),
    ("movies.csv", "title\nHeat\n", "no column 'item_id'; found: 'title'"),
    ("movies.csv", "", "no items in"),
    ("movies.dat", "1::Heat (1995)\n", "line 1: 2 fields where there should be 3$"),
    ("u.item", "1|Heat (1995)|x\n", "line 1: 3 fields where there should be 24$"),
    ("movies.csv", "movieId,title\n1,Heat,\n2,Up,\n", ["Heat", "Up"]),
    ("items.csv", "id,name\n3,b\n4,a\n", ["b", "a"]),
    ("items.csv", "price,product_id\n3,b\n4,a\n", ["", ""]),
]
# fmt: on


def outcome(frame):
    """Return columns of plain values, times as seconds."""
    return frame.astype({name: "int64" for name in frame if name == "timestamp"}).to_dict("list")


def words(options):
    """Write options as `recsys train` takes them."""
    for name, value in options.items():
        if name == "only":
            yield from (f"--only={column}={one}" for column, one in value.items())
        else:
            yield f"--{name.replace('_', '-')}"
            yield from () if value is True else map(str, np.ravel(value))


@pytest.mark.parametrize(("name", "content", "expected", "options"), TABLE)
def test_a_file_is_read_as_the_table_says(name, content, expected, options, tmp_path, capsys):
    path = put(tmp_path / name, content)
    if isinstance(expected, str):
        line = fails(path, expected, **options)
        model = tmp_path / "never made"
        status = main(["train", "--data", str(path), "--model", str(model), *words(options)])
        out, err = capsys.readouterr()
        count("silent wrong answers", status == 0)
        assert (status, out, err) == (1, "", f"recsys: {line}\n")
        assert not model.exists()
        return
    count("bad inputs tried")
    found = load_ratings(path, **options)
    pd.testing.assert_frame_equal(check_ratings(found), found)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, list):
        assert found["user_id"].tolist() == expected
        assert load_ratings(path, **{**options, "text_ids": True})["user_id"].dtype == "str"
    else:
        assert outcome(found) == expected


@pytest.mark.parametrize(("name", "content", "expected"), ITEMS)
def test_an_items_table_is_read_as_the_table_says(name, content, expected, tmp_path):
    put(tmp_path / name, content)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            load_items(tmp_path)
    else:
        assert load_items(tmp_path)["title"].tolist() == expected


_REST = "|14-Nov-1994||http://us.imdb.com/M/title-exact?x|"
_TABS, _COLONS = ROWS.replace(",", "\t"), ROWS.replace(",", "::")
_DAT = "10::L\u00e9on (1994)::Action|Crime\n20::Usual Suspects, The (1995)::\n"
LAYOUTS = {
    "ml-100k": {
        "u.data": _TABS,
        "u.item": (
            f"10|L\u00e9on (1994){_REST}0|1" + "|0" * 4 + "|1" + "|0" * 12
            + f"\n20|Usual Suspects, The (1995){_REST}1" + "|0" * 18 + "\n"
        ).encode("latin-1"),
        "u.user": "1|24|M|technician|85711\n",
    },
    "ml-1m": {"ratings.dat": _COLONS, "movies.dat": _DAT.encode("latin-1"), "users.dat": "1::F\n"},
    "ml-10m": {"ratings.dat": _COLONS, "movies.dat": _DAT, "tags.dat": "1::10::funny::8\n"},
    "ml-25m": {
        "ratings.csv": ("userId,movieId,rating,timestamp\n" + ROWS).replace("\n", "\r\n"),
        "movies.csv": "movieId,title,genres\r\n10,L\u00e9on (1994),Action|Crime\r\n"
        '20,"Usual Suspects, The (1995)",(no genres listed)\r\n',
        "tags.csv": "userId,movieId,tag,timestamp\r\n1,10,funny,881250949\r\n",
    },
    "recbole": {
        "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + _TABS,
        "x.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tL\u00e9on\t1994\tAction Crime\n20\tUsual Suspects, The\t1995\tunknown\n",
    },
}  # fmt: skip


def write_layout(folder, layout):
    """Write the files of a layout; return the ratings file."""
    first, *_ = [put(folder / name, content) for name, content in LAYOUTS[layout].items()]
    return first


def packed(path, text):
    """Write a text as the name says: a zip with one member, or gz."""
    if path.suffix == ".zip":
        return zipped({"ratings.csv": text}, path)
    return put(path, gzip.compress(text.encode()))


def zipped(members, target, inside=""):
    """Pack the files of a folder, or members given as name -> text."""
    if isinstance(members, Path):
        members = {path.name: path.read_bytes() for path in sorted(members.iterdir())}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(inside + name, content)
    return target


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["", "ml/"])
@pytest.mark.parametrize("kind", ["folder", "zip", "ZIP"])
def test_23_24_every_layout_is_read_from_a_folder_and_a_zip(layout, place, kind, tmp_path):
    source = tmp_path / "data"
    ratings = write_layout(source / place, layout)
    if kind != "folder":
        source = zipped(ratings.parent, tmp_path / f"ml.{kind}", place)
    pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)
    items = load_items(str(source))
    assert items.to_numpy().tolist() == [
        [10, "L\u00e9on", ("Action", "Crime"), 1994],
        [20, "Usual Suspects, The", (), 1995],
    ]
    pd.testing.assert_frame_equal(load_ratings(ratings), EXPECTED)
    with pytest.raises(DataError, match="is a ratings file; it has no items table"):
        load_items(ratings)


def test_items_are_read_by_themselves_and_as_text_and_may_be_missing(tmp_path):
    write_layout(tmp_path, "ml-25m")
    assert load_items(tmp_path / "movies.csv")["item_id"].tolist() == [10, 20]
    assert load_items(tmp_path, text_ids=True)["item_id"].tolist() == ["10", "20"]
    (tmp_path / "movies.csv").unlink()
    with pytest.raises(DataError, match=r"no items found in .*; looked for movies\.csv, .*u\.item"):
        load_items(tmp_path)


@pytest.mark.parametrize("name", [
    "catalog.csv", "catalog.tsv", "catalog.txt", "catalog.parquet", "catalog.csv.gz", "x.zip",
])  # fmt: skip
def test_items_come_in_a_table_of_any_name_and_with_mapped_columns(name, tmp_path):
    table = pd.DataFrame({
        "code": ["007", "7"], "label": ['a "b"', "c,d (1999)"], "kind": ["x|y", ""],
        "ean": ["0012345678905", "9007199254740993"],
    })  # fmt: skip
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        text = table.to_csv(index=False, sep="\t" if "tsv" in name else ",")
        if name == "x.zip":
            zipped({"deep/products.csv": text, "events.csv": HEADER + ROWS}, path)
        else:
            put(path, gzip.compress(text.encode()) if name.endswith("gz") else text)
    items = load_items(path, item_col="code", title_col="label", genres_col="kind")
    assert items.to_dict("list") == {
        "item_id": ["007", "7"], "title": ['a "b"', "c,d"], "genres": [("x", "y"), ()],
        "year": [None, 1999], "ean": table["ean"].tolist(),
    }  # fmt: skip
    with pytest.raises(
        DataError, match=r"no column 'item_id'; .* by item_col= \(--items-id-col\)$"
    ):
        load_items(path)


def test_items_in_a_folder_are_told_from_ratings_by_their_name(tmp_path):
    put(tmp_path / "events.csv", HEADER + ROWS)
    put(tmp_path / "products.csv", "product_id,title\n10,Heat\n")
    pd.testing.assert_frame_equal(load_ratings(tmp_path), EXPECTED)
    assert load_items(tmp_path)["title"].tolist() == ["Heat"]


@pytest.mark.parametrize(("text", "titles"), [
    ('id\ttitle\n1\t"5 inch\n2\tb\n', ['"5 inch', "b"]),
    ('id\ttitle\n1\t"5"\n2\t"b\tc"\n', ["5", "b\tc"]),
])  # fmt: skip
def test_items_with_tabs_keep_every_row_whatever_the_quotes(text, titles, tmp_path):
    path = put(tmp_path / "catalog.tsv", text)
    assert load_items(path, item_col="id")["title"].tolist() == titles


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.csv.bz2", "x.csv.xz", "x.7z", "x.xlsx"])
def test_archives_of_other_kinds_are_refused(name, tmp_path):
    text = put(tmp_path / "r.csv", HEADER + ROWS)
    if ".tar" in name:
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.add(text, "r.csv")
    else:
        content = text.read_bytes()
        magic = {"7z": b"7z\xbc\xaf\x27\x1c" + bytes(50), "lsx": b"PK\3\4" + bytes(50)}
        packed = {"bz2": bz2.compress(content), ".xz": lzma.compress(content), ".7z": magic["7z"]}
        put(tmp_path / name, packed.get(name[-3:], magic["lsx"]))
    fails(tmp_path / name, "not text in UTF-8")


@pytest.mark.parametrize("name", ["sample", "ml-100k"])
def test_the_usual_data_sets_give_no_warning(name, ml_100k):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_ratings(name, cache=False)
        load_items(name)


def test_26_a_single_table_of_any_name_in_a_folder_or_zip_is_read(tmp_path):
    folder = tmp_path / "data"
    put(folder / "notes.txt", "hello")
    put(folder / ".hidden.csv", "a,b\n1,2\n")
    looked = r"looked for ratings\.csv, u\.data, ratings\.dat, \*\.inter or a single csv"
    for empty in (folder, zipped(folder, tmp_path / "empty.zip")):
        fails(empty, f"no ratings found in '.*'; {looked}")
    put(folder / "events.csv", HEADER + ROWS)
    pd.testing.assert_frame_equal(load_ratings(folder), EXPECTED)
    pd.testing.assert_frame_equal(load_ratings(zipped(folder, tmp_path / "x.zip")), EXPECTED)
    put(folder / "more.tsv", "a\tb\n")
    fails(folder, r"more than one ratings table; name the file: .*events\.csv', .*more\.tsv'$")


def test_members_of_a_zip_that_lead_out_of_it_are_not_read_and_nothing_is_unpacked(tmp_path):
    names = ("../ratings.csv", "a/../../ratings.csv", "/ratings.csv", "..//ratings.csv")
    evil = dict.fromkeys((*names, "__MACOSX/ratings.csv"), HEADER + "7,10,4,5\n")
    fails(zipped(evil, tmp_path / "evil.zip"), "no ratings found")
    source = zipped({**evil, "ml/ratings.csv": HEADER + ROWS}, tmp_path / "evil.zip")
    pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_name_is_fetched_and_a_path_of_that_name_is_not(tmp_path, monkeypatch, caplog):
    write_layout(tmp_path / "fetched", "ml-25m")
    monkeypatch.setattr(recsys.data.datasets, "fetch", lambda name: tmp_path / "fetched")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "ml-1m" / "ratings.csv", HEADER + "7,10,4,881250949\n")
    with caplog.at_level(logging.INFO, logger="recsys.data"):
        assert load_ratings("ml-1m")["user_id"].tolist() == [1, 2, 1]
    assert "for the path of that name write './ml-1m'" in caplog.messages[0]
    assert load_items("ml-1m")["item_id"].tolist() == [10, 20]
    for path in ("./ml-1m", Path("ml-1m"), str(tmp_path / "ml-1m")):
        assert load_ratings(path)["user_id"].tolist() == [7]


def test_27_a_missing_path_and_no_permission_are_errors_of_one_line(tmp_path, monkeypatch):
    def refuse(*_):  # root may read everything
        raise PermissionError(13, "Permission denied", "the path")

    for missing in ("nowhere/no.csv", "no-such-data", ""):
        fails(missing, r"is not a file, a folder or the name of a data set \(sample, .*ml-100k")
    path = put(tmp_path / "ratings.csv", HEADER)
    monkeypatch.setattr(Path, "open", refuse)
    fails(path, r"^'.*ratings\.csv' cannot be read: Permission denied$")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(recsys.data.text, "_BLOCK", 64)


@pytest.mark.usefixtures("small_blocks")
def test_a_file_of_many_blocks_is_read_whole(tmp_path):
    rows = [(n, f"a:{'b' * (1 + n % 20)}:c", n % 5 + 0.5, 9**9 + n) for n in range(500)]
    for delimiter in (",", "::"):
        text = "".join(delimiter.join(map(str, row)) + "\n" for row in [NAMES, *rows])
        found = outcome(load_ratings(put(tmp_path / "r.dat", text)))
        assert list(zip(*found.values(), strict=True)) == rows
    draw = random.Random(7)
    ids = ["plain", *("".join(draw.choices('ab"\n, x', k=9)) + "!" for _ in range(2000))]
    for quoting in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL):
        text = io.StringIO(newline="")
        csv.writer(text, quoting=quoting).writerows([["user", "item"], *([one, 1] for one in ids)])
        assert load_ratings(put(tmp_path / "r.csv", text.getvalue()))["user_id"].tolist() == ids


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("last", "expected"), [
    ("x,1", r"mixes numbers \(10 in line 2\) and text \('x' in line 102\)"),
    (",1", "line 102: user_id is blank"),
    ("1", "line 102: 1 fields where there should be 2"),
    ("\udcff,1", "line 102: not text in UTF-8"),
    ('a,"b\n' + "c,d\n" * 99, "has a row longer than 64 bytes; is a quote never closed"),
    ("007,1", ["10", "007"]), ("9223372036854775808,1", [10, 2**63]), ("7.0,1", [10, 7]),
])  # fmt: skip
def test_the_last_block_decides_with_the_others(last, expected, tmp_path):
    text = "user,item\n" + "10,1\n" * 100 + last + "\n"
    path = put(tmp_path / "r.csv", text.encode("utf-8", "surrogateescape"))
    if isinstance(expected, str):
        fails(path, expected)
    else:
        assert load_ratings(path)["user_id"].tolist() == [expected[0]] * 100 + [expected[1]]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t", "::"])
@pytest.mark.parametrize("odd", ["007", "0x1f", "00", "-007"])
def test_an_id_that_would_lose_its_zeros_stays_text_wherever_it_stands(odd, delimiter, tmp_path):
    for row, column in [(row, column) for row in (0, 1, 7, 50) for column in (0, 1)]:
        rows = [[str(n), str(n + 100), "0.5", str(881250949 + n)] for n in range(1, 52)]
        rows[row][column] = odd
        lines = [delimiter.join(row) + "\n" for row in [["user", "item", "rating", "time"], *rows]]
        path = put(tmp_path / "r.dat", "".join(lines))
        if odd == "0x1f":
            fails(path, "mixes numbers")
        else:
            found = load_ratings(path)[("user_id", "item_id")[column]]
            assert found.tolist() == [r[column] for r in rows]


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.parquet"])
def test_no_thread_of_pyarrow_reads_from_a_python_object(name, tmp_path, monkeypatch):
    # One that still reads when an error has ended the rest crashes the interpreter.
    frame = pd.DataFrame({"user": range(300_000), "item": range(300_000)})
    write = frame.to_parquet if name == "r.parquet" else frame.to_csv
    write(tmp_path / name, index=False)
    readers = []

    class Watched(io.BufferedReader):
        def read(self, size=-1, /):
            readers.append(threading.current_thread())
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda path, mode: Watched(io.FileIO(path, mode)))
    assert len(load_ratings(tmp_path / name)) == 300_000
    assert readers or name == "r.parquet"  # opened by pyarrow itself
    assert not [reader for reader in readers if isinstance(reader, threading._DummyThread)]


@pytest.mark.parametrize("name", ["ratings.csv.gz", "r.parquet", "r.pq"])
def test_24_gz_and_parquet_are_read_also_in_folders_and_zips(name, tmp_path):
    path = tmp_path / "data" / name
    put(path, gzip.compress((HEADER + ROWS).encode()))
    if not name.endswith("gz"):
        table = pd.DataFrame({"tag": "x", "date": EXPECTED["timestamp"], "score": [4, 3, 5]})
        table.assign(uid=[1, 2, 1], movieId=[10, 10, 20]).set_index("tag").to_parquet(path)
    for source in (path, path.parent, zipped(path.parent, tmp_path / "x.zip")):
        pd.testing.assert_frame_equal(load_ratings(source), EXPECTED)
    assert load_ratings(path, text_ids=True)["user_id"].tolist() == ["1", "2", "1"]
    fails(path, "no column 'who' as user_col=", user_col="who")
    pd.DataFrame({"user": ["a", None], "item": [1, 2]}).to_parquet(tmp_path / "x.parquet")
    fails(tmp_path / "x.parquet", r"x\.parquet', row 2: user_id is missing")


@pytest.mark.parametrize("name", ["r.csv.gz", "r.zip", "r.parquet"])
def test_25_a_file_that_is_cut_short_or_not_what_its_name_says_is_an_error(name, tmp_path):
    ids = np.random.default_rng(0).integers(1, 10**9, (20_000, 2)).tolist()
    path = packed(tmp_path / name, HEADER + "".join(f"{u},{i},3,881250949\n" for u, i in ids))
    if name == "r.parquet":
        EXPECTED.to_parquet(path)
    whole = path.read_bytes()
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        empty = name == "r.csv.gz" and share == 0
        fails(path, "no ratings in" if empty else "is corrupt or cut short, get it again: ")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    if name != "r.parquet":  # which has no checksum
        fails(put(path, bytes(flipped)), "is corrupt or cut short|fields where there should be")
    fails(put(path, HEADER + ROWS), "is corrupt or cut short, get it again: ")


@pytest.mark.parametrize("name", ["r.csv.gz", "r.zip"])
def test_25_a_packed_line_without_end_does_not_fill_the_memory(name, tmp_path):
    path = packed(tmp_path / name, "user,item\n1,1\n" + "\0" * 50_000_000)
    tracemalloc.start()
    try:
        fails(path, "row longer than 262,144 bytes; is a quote never closed")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    def write(text):
        with replace_whole(tmp_path / "x") as made:
            assert made.parent == tmp_path
            made.write_text(text)
            if text == "interrupted":
                raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    write("old")
    write("new")
    with pytest.raises(KeyboardInterrupt):
        write("interrupted")
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(recsys.data.files.os, step, full)
            with pytest.raises(OSError, match="the disk is full"):
                write("half")
    assert (tmp_path / "x").read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").stat().st_mode == put(tmp_path / "y", "").stat().st_mode
    monkeypatch.setattr(recsys.data.files.secrets, "token_hex", lambda _: "0")
    theirs = put(tmp_path / ".recsys-0.part", "theirs")
    with pytest.raises(FileExistsError):
        write("half")
    assert theirs.read_text() == "theirs"


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")
texts = st.text(letters, min_size=1, max_size=8).filter(str.strip)
whole = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(texts, min_size=1) | st.lists(whole, min_size=1), st.sampled_from(",\t;|"))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_ids_written_by_pandas_come_back(tmp_path, ids, delimiter):
    table = pd.DataFrame({"user_id": ids, "item_id": [f"i{i}" for i in range(len(ids))]})
    table.to_csv(tmp_path / "r.csv", index=False, sep=delimiter)
    as_text = load_ratings(tmp_path / "r.csv", text_ids=True)
    assert as_text["user_id"].tolist() == [str(one) for one in ids]
    if isinstance(ids[0], int):
        assert load_ratings(tmp_path / "r.csv")["user_id"].tolist() == ids
    pd.testing.assert_series_equal(as_text["item_id"], table["item_id"])


def test_ml_100k_has_its_known_numbers_and_items_and_is_the_same_in_the_official_layout(
    ml_100k, ml_100k_items, tmp_path
):
    assert len(ml_100k) == 100_000
    assert ml_100k[["user_id", "item_id"]].nunique().tolist() == [943, 1682]
    dtypes = [str(dtype) for dtype in ml_100k.dtypes]
    assert dtypes == ["int64", "int64", "float32", "datetime64[s, UTC]"]
    official = ml_100k.astype({"rating": "int64", "timestamp": "int64"})
    official.to_csv(tmp_path / "u.data", sep="\t", header=False, index=False)
    pd.testing.assert_frame_equal(load_ratings(tmp_path), ml_100k)
    items = ml_100k_items.set_index("item_id")
    assert items.index.is_unique
    assert set(ml_100k["item_id"]) == set(items.index)
    toy_story = ["Toy Story", ("Animation", "Children's", "Comedy"), 1995]
    assert items.loc[1, ["title", "genres", "year"]].tolist() == toy_story
    assert items["year"].isna().sum() == 2
    assert items["title"].str.contains("Usual Suspects, The").any()
