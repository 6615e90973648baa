"""Renders the chart and checks it, in the environment of its tools: ``chart_render.py CHART < VALUES``.

Writes JSON: what ``helm lint --strict`` says, the documents, what is wrong with them by the schemas of
Kubernetes, and the error where nothing could be rendered.
"""

import json
import sys
import warnings

import helm_python
import kubernetes_validate
import yaml

OLDEST, NEWEST = "1.28", "1.37"


def main() -> None:
    path, values = sys.argv[1], json.load(sys.stdin)
    json.dump({"lint": helm_python.lint(path, values, strict=True), **rendered(path, values)}, sys.stdout)


def rendered(path: str, values: dict) -> dict:
    chart = helm_python.Chart.load(path)
    try:
        chart.validate_schema(values)
        files = chart.render(values, name="bots", namespace="trading")
    except helm_python.HelmError as error:
        return {"error": str(error), "documents": [], "problems": []}
    texts = {name: text for name, text in files.items() if name.endswith(".yaml")}
    documents = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    return {"error": None, "documents": documents, "problems": [*problems(documents)]}


def problems(documents: list) -> list:
    """What the oldest and the newest Kubernetes have against them; those of operators are none of its own."""
    for document in documents:
        for version in (OLDEST, NEWEST):
            if not document["apiVersion"].startswith(("keda.sh/", "monitoring.coreos.com/")):
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    yield f"{version} {document['kind']}: {error.message}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
