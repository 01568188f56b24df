"""Templates, parameters and `${{ }}`, as Azure expands them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from delivery.azure_runner.reading import read
from local.errors import LocalError


def pipeline(folder: Path, text: str, **templates: str) -> Path:
    for name, content in templates.items():
        (folder / f"{name}.yml").write_text(dedent(content))
    file = folder / "azure-pipelines.yml"
    file.write_text(dedent(text))
    return file


PARAMETERS = """
parameters:
  - name: to
    type: string
    default: dev
    values: [dev, prod]
  - name: back
    type: boolean
    default: false
  - name: names
    type: object
    default: [a, b]
"""


def expanded(folder: Path, text: str, **parameters: Any) -> dict[str, Any]:
    return read(pipeline(folder, PARAMETERS + dedent(text)), parameters)


def test_if_elseif_else_in_a_list(tmp_path: Path) -> None:
    text = """
    stages:
      - stage: always
      - ${{ if eq(parameters.to, 'prod') }}:
          - stage: prod
      - ${{ elseif eq(parameters.back, true) }}:
          - stage: back
      - ${{ else }}:
          - stage: neither
          - stage: nor
    """

    def names(**parameters: Any) -> list[str]:
        return [stage["stage"] for stage in expanded(tmp_path, text, **parameters)["stages"]]

    assert names() == ["always", "neither", "nor"]
    assert names(to="prod", back=True) == ["always", "prod"]
    assert names(back=True) == ["always", "back"]


def test_if_and_else_between_keys(tmp_path: Path) -> None:
    text = """
    pool:
      first: 1
      ${{ if eq(parameters.back, true) }}:
        after: Validate
      ${{ else }}:
        after: Verify_${{ parameters.to }}
    """
    assert expanded(tmp_path, text)["pool"] == {"first": 1, "after": "Verify_dev"}
    assert expanded(tmp_path, text, back=True)["pool"] == {"first": 1, "after": "Validate"}


def test_each(tmp_path: Path) -> None:
    text = """
    stages:
      - ${{ each name in parameters.names }}:
          - stage: Drift_${{ name }}
    """
    assert expanded(tmp_path, text)["stages"] == [{"stage": "Drift_a"}, {"stage": "Drift_b"}]


def test_a_value_keeps_its_type_and_text_is_text(tmp_path: Path) -> None:
    text = """
    variables:
      whole: ${{ parameters.back }}
      part: "back: ${{ parameters.back }}"
      list: ${{ parameters.names }}
    """
    assert expanded(tmp_path, text)["variables"] == {"whole": False, "part": "back: False", "list": ["a", "b"]}


def test_templates_nest_with_their_own_parameters(tmp_path: Path) -> None:
    file = pipeline(
        tmp_path,
        """
        stages:
          - template: stage.yml
            parameters:
              name: Plan
        """,
        stage="""
        parameters:
          - name: name
            type: string
        stages:
          - stage: ${{ parameters.name }}
            jobs:
              - job: one
                steps:
                  - template: steps.yml
                  - script: last
        """,
        steps="""
        steps:
          - script: first
        """,
    )
    (stage,) = read(file, {})["stages"]
    assert stage["stage"] == "Plan"
    assert [step["script"] for step in stage["jobs"][0]["steps"]] == ["first", "last"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages:\n  - template: nowhere.yml", "nowhere.yml: this template does not exist"),
        ("stages:\n  - template: t.yml", "t.yml: the parameter 'name' is missing"),
        (
            "stages:\n  - template: t.yml\n    parameters: {name: x, more: 1}",
            "t.yml: there is no parameter 'more'; allowed: name",
        ),
        (
            "jobs:\n  - template: t.yml\n    parameters: {name: x}",
            "t.yml: found stages, allowed where it is taken: jobs",
        ),
        ("stages:\n  - ${{ else }}:\n      - stage: x", "`else` without an `if` before it"),
        ("stages:\n  - stage: ${{ parameters.nobody }}", "names parameters.nobody, which does not exist"),
        ("stages:\n  - ${{ each name parameters.x }}:\n      - stage: x", "is not `each NAME in LIST`"),
        ("stages: [\n", "azure-pipelines.yml: this is no valid YAML"),
        ("stages: []\nstages: []", "['stages'] twice"),
        (
            "parameters:\n  - name: x\n    type: stepList\nstages: []",
            "parameter x: its type 'stepList' is unknown here",
        ),
        ("- stage: x", "azure-pipelines.yml: found no mapping"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    template = "parameters:\n  - name: name\n    type: string\nstages:\n  - stage: ${{ parameters.name }}"
    with pytest.raises(LocalError) as error:
        read(pipeline(tmp_path, text, t=template), {})
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "test"}, "parameter to: found 'test', allowed: dev, prod"),
        ({"back": "maybe"}, "parameter back: found 'maybe', allowed is a boolean"),
        ({"too": "dev"}, "there is no parameter 'too'; allowed: to, back, names"),
    ],
)
def test_a_parameter_that_is_not_allowed(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(LocalError) as error:
        expanded(tmp_path, "stages: []", **given)
    assert said in str(error.value)
