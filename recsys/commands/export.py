"""Write the vectors of a saved model for other programs.

word2vec    text file, one vector a line, as gensim's `KeyedVectors.load_word2vec_format` reads it
npz         numpy arrays by name, no pickle
parquet     one table, a list of float32 a row
projector   a folder of vectors.tsv and metadata.tsv for https://projector.tensorflow.org
sqlite      look-up tables in a file, which `recsys.LookUp` reads
redis       keys i2vEmb:<id>, i2vOut:<id>, i2vAud:<id>, uEmb:<id>, which `recsys.LookUp` reads

Items have `input`, `output` and `audience` vectors, users one vector each (`users`). Layouts and
how to use them: recsys/export/README.md.
"""

from __future__ import annotations

import argparse

from recsys.commands import common
from recsys.export.files import FORMATS, export

SUMMARY = "write the vectors of the saved model for other programs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("target", metavar="TARGET", help="a file; for projector a folder; for "
                        "redis a URL such as redis://localhost:6379/0")  # fmt: skip
    parser.add_argument("--format", choices=FORMATS, required=True, help="see above")
    parser.add_argument("--what", metavar="KINDS",
                        help="input, output, audience, users, or several with commas between "
                        "(default: input for word2vec, audience for projector; input,output for "
                        "parquet; all for npz, sqlite and redis)")  # fmt: skip
    common.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Export from a saved model."""
    from recsys.recommender import Recommender

    model = Recommender.load(common.model_folder(args))
    done = export(model, args.target, format=args.format, what=args.what)
    if args.json:
        common.print_json(done)
        return
    rows = [f"{done[f'n_{n}']:,} {n}" for n in ("items", "users") if done[f"n_{n}"] is not None]
    common.print_text(
        f"{done['target']}: {done['format']}, {', '.join(done['what'])} vectors of "
        f"{' and '.join(rows)}, {done['vector_size']} numbers each"
    )
