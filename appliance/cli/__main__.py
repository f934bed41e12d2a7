"""`python -m appliance.cli`: the command without its script."""

from appliance.cli.app import main

main()
