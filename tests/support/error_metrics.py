"""A plugin of metrics that raise, as text."""

ERRORS = """
import os
from harness import Metric, hookimpl

def build():
    import datasets, evaluate

    class ErrorRate(evaluate.Metric):
        def _info(self):
            return evaluate.MetricInfo(
                description="share of wrong answers", citation="", inputs_description="",
                features=datasets.Features({
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }),
            )

        def compute(self, *, predictions, references):
            "evaluate adds to this text"
            if os.environ.get("HARNESS_ERROR") == "raise":
                raise ZeroDivisionError("told to")
            wrong = [p.argmax() != r for p, r in zip(predictions, references, strict=True)]
            return {"error-rate": sum(wrong) / len(wrong) * float(os.environ.get("SCALE", "1"))}

    return ErrorRate()

@hookimpl
def harness_metrics():
    return [Metric("error-rate", build, higher_is_better=False)]
"""
