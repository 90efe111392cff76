"""`python -m dreambooth_operator`: the operator."""

from dreambooth_operator.main import main

main()
