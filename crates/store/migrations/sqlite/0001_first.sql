-- Only the index, not the texts: they are in the raw message. rowid is inbox.sequence.
CREATE VIRTUAL TABLE inbox_search USING fts5 (
    subject, sender, text,
    content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT raise(ABORT, 'events are append-only');
END;
CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
BEGIN
    SELECT raise(ABORT, 'events are append-only');
END;
