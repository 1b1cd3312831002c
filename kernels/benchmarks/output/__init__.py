"""What a run leaves: records, tables, figures, and whether the goals are met."""
