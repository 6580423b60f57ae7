"""One Spark in a process of its own: does what it is told on its input, a line of JSON a task.

`.venv-spark/bin/python tests/spark/session.py` knows no package of ours. A task is
`[name, argument…]`, and the answer a line of JSON: what came out, or `{"error": …}`.
"""

from __future__ import annotations

import json
import sys

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

OPTIONS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    # Values are text, also where a folder's name looks like a date.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}


def read(spark: SparkSession, path: str, columns: list[str] | None) -> DataFrame:
    frame = spark.read.parquet(path)
    return frame.selectExpr(*columns) if columns else frame


def rows(frame: DataFrame) -> list[str]:
    """Each row as JSON with its columns in order, sorted; a key is there where it is no null."""
    text = F.to_json(F.struct(*(F.col(f"`{name}`") for name in frame.columns)))
    return sorted(row[0] for row in frame.select(text).collect())


def do(spark: SparkSession, what: str, *given) -> object:
    if what == "set":
        spark.conf.set(*given)
    elif what == "rows":
        return rows(read(spark, *given))
    elif what == "schema":
        return spark.read.parquet(*given).schema.jsonValue()["fields"]
    elif what == "types":
        return dict(spark.read.parquet(*given).dtypes)
    elif what == "write":  # a query → Parquet, in folders of some columns
        query, path, by = given
        spark.sql(query).coalesce(1).write.partitionBy(*by).parquet(path)
    elif what == "table":  # into a table, as comments and VARCHAR are no words of a query
        columns, query, path = given
        spark.sql("drop table if exists written")
        spark.sql(f"create table written ({columns}) using parquet location '{path}'")
        spark.sql(f"insert into written {query}")
    else:
        raise ValueError(what)
    return None


def main() -> None:
    builder = SparkSession.builder.master("local[1]")
    for name, value in OPTIONS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    print(json.dumps(spark.version), flush=True)
    for line in sys.stdin:
        try:
            answer = do(spark, *json.loads(line))
        except Exception as error:  # the test is told
            answer = {"error": str(error)[:2000]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
