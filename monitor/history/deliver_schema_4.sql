-- What version 4 adds to the dispatcher's own file: a dead letter can be sent again.

-- When somebody asked for it; NULL: nobody has, or it was refused once more. It is dead until the sink acknowledges it.
ALTER TABLE dead_letter ADD COLUMN again_ns INTEGER;
CREATE INDEX dead_letter_again ON dead_letter (sink, seq) WHERE again_ns IS NOT NULL;
