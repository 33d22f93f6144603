"""What PySpark answers, as JSON that two servers' answers are compared in.

In: rows, DataFrames, schemas, errors, Python values. Out: JSON values in which 1, 1.0 and Decimal(1) stay different.
Cannot fail on anything PySpark returns: a type it does not know is written by its name and its `repr`.
"""

import datetime
import decimal
import json
import math
import re


def plain(value):
    """A Python value as JSON."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"double": repr(value)}
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime.datetime):
        return {"timestamp": value.isoformat(sep=" ")}
    if isinstance(value, datetime.date):
        return {"date": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"time": value.isoformat()}
    if isinstance(value, datetime.timedelta):
        return {"microseconds": value // datetime.timedelta(microseconds=1)}
    if isinstance(value, (bytes, bytearray)):
        return {"binary": bytes(value).hex()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return in_order([plain(part) for part in value])
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: plain(value[key]) for key in sorted(value)}
        return {"map": in_order([[plain(key), plain(part)] for key, part in value.items()])}
    kind = type(value)
    if kind.__module__.startswith("numpy"):
        return plain(value.item() if getattr(value, "ndim", 0) == 0 else value.tolist())
    if kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas"):
        return {"dtypes": {str(k): str(v) for k, v in value.dtypes.items()}, "rows": [plain(list(row)) for row in value.itertuples(index=False)]}
    if hasattr(value, "jsonValue"):
        return value.jsonValue()
    return {kind.__name__: repr(value)}


def text(value):
    """The text by which two values are the same or not."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def in_order(rows):
    return sorted(rows, key=text)


def table(frame):
    """A table's schema and rows; the rows in an order of our own, because a table has none."""
    return {"schema": frame.schema.simpleString(), "rows": in_order([plain(row) for row in frame.collect()])}


def nullable(data_type):
    """Which fields may be null, down to the leaves."""
    kind = data_type.typeName()
    if kind == "struct":
        return {field.name: [field.nullable, nullable(field.dataType)] for field in data_type.fields}
    if kind == "array":
        return [data_type.containsNull, nullable(data_type.elementType)]
    if kind == "map":
        return [data_type.valueContainsNull, nullable(data_type.keyType), nullable(data_type.valueType)]
    return None


def error(problem):
    """An error by what a program can catch it by. Its words are for people and are not compared."""
    get = lambda method: getattr(problem, method, lambda: None)()  # noqa: E731
    kinds = {"error": type(problem).__name__, "condition": get("getCondition"), "sqlState": get("getSqlState")}
    if kinds["condition"] == "STREAM_FAILED":
        named = re.findall(r"\[([A-Z][A-Z0-9_.]+)\]", str(problem).split("=== Streaming Query ===")[0])
        kinds["causes"] = [condition for condition in named if condition != "STREAM_FAILED"][-1:]
    return kinds, str(problem)[:1500]


def without(value, path):
    """The value with the run's own folder out of its texts."""
    if isinstance(value, str):
        return value.replace(path, "<work>")
    if isinstance(value, list):
        return [without(part, path) for part in value]
    if isinstance(value, dict):
        return {without(key, path): without(part, path) for key, part in value.items()}
    return value
