"""``python -m osdn_theory …`` is ``osdn-theory …``, installed or not."""

from osdn_theory.commands.main import app

if __name__ == "__main__":
    app(prog_name="osdn-theory")
