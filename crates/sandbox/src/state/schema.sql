CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS user (
  id TEXT PRIMARY KEY,
  address TEXT NOT NULL UNIQUE COLLATE NOCASE,
  display_name TEXT NOT NULL,
  password TEXT NOT NULL,
  admin INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS application (
  id TEXT PRIMARY KEY,
  app_id TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS secret (
  key_id TEXT PRIMARY KEY,
  application TEXT NOT NULL REFERENCES application (id) ON DELETE CASCADE,
  display_name TEXT,
  hint TEXT NOT NULL,
  digest BLOB NOT NULL,
  starts_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS service_principal (
  id TEXT PRIMARY KEY,
  app_id TEXT NOT NULL UNIQUE,
  application TEXT REFERENCES application (id) ON DELETE CASCADE,
  display_name TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS role_assignment (
  id TEXT PRIMARY KEY,
  principal TEXT NOT NULL REFERENCES service_principal (id) ON DELETE CASCADE,
  resource TEXT NOT NULL REFERENCES service_principal (id) ON DELETE CASCADE,
  role TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (principal, resource, role)
) STRICT;
CREATE TABLE IF NOT EXISTS folder (
  id TEXT PRIMARY KEY,
  mailbox TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  parent TEXT REFERENCES folder (id) ON DELETE CASCADE,
  well_known TEXT,
  display_name TEXT NOT NULL COLLATE NOCASE,
  hidden INTEGER NOT NULL,
  UNIQUE (mailbox, parent, display_name)
) STRICT;
CREATE TABLE IF NOT EXISTS message (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  mailbox TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  folder TEXT NOT NULL REFERENCES folder (id) ON DELETE CASCADE,
  ordinary_id TEXT NOT NULL UNIQUE,
  immutable_id TEXT NOT NULL UNIQUE,
  entered INTEGER NOT NULL, -- number of the change that brought it into its folder
  change INTEGER NOT NULL,  -- number of its last change
  is_draft INTEGER NOT NULL,
  is_read INTEGER NOT NULL,
  internet_message_id TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  modified_at INTEGER NOT NULL,
  facts TEXT NOT NULL, -- JSON: what the raw message says, in Graph's words
  marks TEXT NOT NULL, -- JSON: what only the mailbox knows (categories, flag ...)
  raw BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS message_by_change ON message (folder, change);
CREATE INDEX IF NOT EXISTS message_by_receipt ON message (mailbox, received_at);
CREATE INDEX IF NOT EXISTS message_by_internet_id ON message (mailbox, internet_message_id);
CREATE TABLE IF NOT EXISTS numbering (
  folder TEXT PRIMARY KEY REFERENCES folder (id) ON DELETE CASCADE,
  validity INTEGER, -- UIDVALIDITY when it was changed; none: the folder's own number
  shift INTEGER NOT NULL DEFAULT 0, -- a UID is the number of the change that brought the message in, less this
  last INTEGER NOT NULL DEFAULT 0 -- the highest such number the folder has seen
) STRICT;
CREATE TRIGGER IF NOT EXISTS message_enters AFTER INSERT ON message BEGIN
  INSERT INTO numbering (folder, last) VALUES (NEW.folder, NEW.entered)
    ON CONFLICT (folder) DO UPDATE SET last = max(last, excluded.last);
END;
CREATE TRIGGER IF NOT EXISTS message_moves AFTER UPDATE OF entered ON message BEGIN
  INSERT INTO numbering (folder, last) VALUES (NEW.folder, NEW.entered)
    ON CONFLICT (folder) DO UPDATE SET last = max(last, excluded.last);
END;
CREATE TABLE IF NOT EXISTS touched (
  message INTEGER PRIMARY KEY REFERENCES message (seq) ON DELETE CASCADE,
  change INTEGER NOT NULL -- number of its last change that was more than its read flag
) STRICT;
CREATE TRIGGER IF NOT EXISTS message_touched AFTER UPDATE ON message
  WHEN NEW.is_read = OLD.is_read OR NEW.marks <> OLD.marks OR NEW.is_draft <> OLD.is_draft
    OR NEW.entered <> OLD.entered OR NEW.raw <> OLD.raw
BEGIN
  INSERT OR REPLACE INTO touched (message, change) VALUES (NEW.seq, NEW.change);
END;
CREATE TABLE IF NOT EXISTS removal (
  folder TEXT NOT NULL REFERENCES folder (id) ON DELETE CASCADE,
  change INTEGER NOT NULL,
  ordinary_id TEXT NOT NULL,
  immutable_id TEXT NOT NULL,
  PRIMARY KEY (folder, change, immutable_id)
) STRICT;
CREATE TABLE IF NOT EXISTS outside (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  envelope_from TEXT NOT NULL,
  envelope_to TEXT NOT NULL, -- JSON array
  file TEXT,
  raw BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS upload (
  id TEXT PRIMARY KEY,
  message INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
  item TEXT NOT NULL, -- JSON: the attachment without its bytes
  size INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS upload_chunk (
  upload TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
  start INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (upload, start)
) STRICT;
CREATE TABLE IF NOT EXISTS subscription (
  id TEXT PRIMARY KEY,
  app_id TEXT NOT NULL,
  mailbox TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  folder TEXT, -- none: the whole mailbox
  resource TEXT NOT NULL,
  change_type TEXT NOT NULL,
  url TEXT NOT NULL,
  lifecycle_url TEXT,
  client_state TEXT NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS notice (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  url TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS arriving (
  id TEXT PRIMARY KEY, -- of whatever is made and not effective yet
  at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS federated (
  id TEXT PRIMARY KEY,
  application TEXT NOT NULL REFERENCES application (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  audience TEXT NOT NULL,
  description TEXT,
  UNIQUE (application, name),
  UNIQUE (application, issuer, subject)
) STRICT;
CREATE TABLE IF NOT EXISTS disabled (
  principal TEXT PRIMARY KEY REFERENCES service_principal (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE IF NOT EXISTS exchange_principal (
  object_id TEXT PRIMARY KEY,
  app_id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS management_scope (
  name TEXT PRIMARY KEY COLLATE NOCASE,
  filter TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS distribution_group (
  name TEXT PRIMARY KEY COLLATE NOCASE,
  id TEXT NOT NULL UNIQUE,
  address TEXT NOT NULL UNIQUE COLLATE NOCASE
) STRICT;
CREATE TABLE IF NOT EXISTS group_member (
  name TEXT NOT NULL COLLATE NOCASE REFERENCES distribution_group (name) ON DELETE CASCADE,
  mailbox TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  PRIMARY KEY (name, mailbox)
) STRICT;
CREATE TABLE IF NOT EXISTS management_role_assignment (
  name TEXT PRIMARY KEY COLLATE NOCASE,
  principal TEXT NOT NULL, -- object id of the service principal
  role TEXT NOT NULL,
  scope TEXT, -- none: the whole organisation
  since INTEGER NOT NULL,
  until INTEGER -- removed, and effective to here
) STRICT;
CREATE TABLE IF NOT EXISTS access_policy (
  id TEXT PRIMARY KEY,
  app_id TEXT NOT NULL,
  scope TEXT NOT NULL, -- a group's name or a mailbox's address
  access_right TEXT NOT NULL,
  description TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS client_access (
  mailbox TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  imap_off INTEGER NOT NULL DEFAULT 0,
  smtp_off INTEGER -- none: as the organisation says
) STRICT;
CREATE TABLE IF NOT EXISTS ews_access (
  mailbox TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  enabled INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS mailbox_permission (
  mailbox TEXT NOT NULL REFERENCES user (id) ON DELETE CASCADE,
  trustee TEXT NOT NULL,
  rights TEXT NOT NULL,
  PRIMARY KEY (mailbox, trustee, rights)
) STRICT;
CREATE TABLE IF NOT EXISTS mailbox_kind (
  mailbox TEXT PRIMARY KEY REFERENCES user (id) ON DELETE CASCADE,
  kind TEXT NOT NULL -- what is not a person's mailbox
) STRICT;
