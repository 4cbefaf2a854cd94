"""A graph → the same function, with ranges of channels that are alike.

In   `graph.model.Model`, after rewriting, and what `inference` knows of it.
Out  the same model, its weights scaled in place, and what was done in terms of the report.

Requires that `graph.fixed` names what has to stay. Ensures that every tensor that is scaled has a
new name, that all others keep their values (to the bit, where factors are powers of two), and that
a weight which would lose digits is left as it was, with its reason. One walk (`walk`, `passing`,
`weighted`) tells which channels share a factor; `ranges` and `noise` think of candidates, of which
whoever asks has the last word; `scaling` applies them.
"""

from onnxac.equalizing.candidate import Candidate
from onnxac.equalizing.equalization import Equalized, Request, equalize
from onnxac.equalizing.problem import HANDED_ON

__all__ = ["HANDED_ON", "Candidate", "Equalized", "Request", "equalize"]
