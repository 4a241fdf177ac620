-- What statements use of SQLite and PostgreSQL calls otherwise.
CREATE FUNCTION hex(bytes BYTEA) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN upper(encode(bytes, 'hex'));
CREATE FUNCTION unhex(digits TEXT) RETURNS BYTEA LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN decode(digits, 'hex');
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT) LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 20
    BEGIN ATOMIC
        SELECT item COLLATE "C" FROM json_array_elements_text(list::JSON) AS items (item);
    END;
CREATE FUNCTION json_of_texts(texts TEXT[]) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN array_to_json(texts)::TEXT;
CREATE AGGREGATE json_group_array(TEXT) (
    SFUNC = array_append, STYPE = TEXT[], INITCOND = '{}', FINALFUNC = json_of_texts
);

-- Never a row: their locks are the turns of writers, see `sql/dialect.rs`.
CREATE TABLE turn_to_write ();
CREATE TABLE turn_to_claim_messages ();
CREATE TABLE turn_to_claim_mailboxes ();
CREATE TABLE turn_to_tell ();

-- The index of words, not the texts: they are in the raw message. Letters are compared without their marks.
CREATE FUNCTION search_plain(words TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(normalize(words, NFD), '[\u0300-\u036f]', '', 'g');
CREATE FUNCTION search_vector(words TEXT) RETURNS TSVECTOR LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN to_tsvector('pg_catalog.simple', search_plain(words));
-- Every phrase of a JSON list; nothing where none of them has a word.
CREATE FUNCTION search_query(phrases TEXT) RETURNS TSQUERY LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT string_agg('(' || phrase::TEXT || ')', ' & ')::TSQUERY
        FROM json_array_elements_text(phrases::JSON) AS items (item),
             phraseto_tsquery('pg_catalog.simple', search_plain(item)) AS phrase
        WHERE numnode(phrase) > 0;
    END;
CREATE TABLE inbox_search (
    message BIGINT NOT NULL PRIMARY KEY REFERENCES inbox (sequence) ON DELETE CASCADE,
    words   TSVECTOR NOT NULL
);
CREATE INDEX inbox_search_words ON inbox_search USING gin (words);

CREATE FUNCTION events_are_append_only() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only';
END
$$;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();
