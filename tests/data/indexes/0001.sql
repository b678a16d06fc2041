BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	root BLOB, 
	path BLOB, 
	sha256 VARCHAR(64), 
	job VARCHAR(64) NOT NULL, 
	run VARCHAR(64) NOT NULL, 
	why TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,1.79590090809646534919e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130325F6D657461646174612E6A736F6E','dfecfc349cc8a273a6ff6ac5ebee935ae56d94d8d76fad6d3fa351af94044abf','ingest','41aba056323c','{}');
INSERT INTO "audit" VALUES(2,1.79590090809583878515e+09,'checkpoint.ready',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559','ingest','41aba056323c','{"status": "ok"}');
INSERT INTO "audit" VALUES(3,1.79590090809855151181e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368335F6D657461646174612E6A736F6E','9e210a51b55f5745086d94cb86bac0b2ba70117ac5780e2d8c0e9e89f84e301a','ingest','41aba056323c','{}');
INSERT INTO "audit" VALUES(4,1.79590090809804224969e+09,'checkpoint.ready',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7','ingest','41aba056323c','{"status": "ok"}');
CREATE TABLE contents (
	"key" VARCHAR(32) NOT NULL, 
	sha256 VARCHAR(64), 
	status VARCHAR(32) NOT NULL, 
	container VARCHAR(32) NOT NULL, 
	kind VARCHAR(32), 
	size BIGINT NOT NULL, 
	inspector_version INTEGER NOT NULL, 
	model_name TEXT, 
	dataset TEXT, 
	architecture TEXT, 
	epoch BIGINT, 
	step BIGINT, 
	date VARCHAR(64), 
	quantization TEXT, 
	stage TEXT, 
	parameters BIGINT NOT NULL, 
	dtypes TEXT, 
	inspected_at FLOAT NOT NULL, 
	payload TEXT NOT NULL, 
	details TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "contents" VALUES('d45c5b8c4ea9692ec5062f0e7461dae7','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559','ok','zip','state_dict',2229,2,'BiLSTM','ECG','BiLSTM',NULL,NULL,'2025-01-02',NULL,NULL,36,' float32 ',1.79590090809583878515e+09,'{"path":"","status":"ok","container":"zip","kind":"state_dict","sha256":"fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559","size_bytes":2229,"tensors":{"count":2,"parameters":36,"bytes":144,"dtypes":{"float32":36},"optimizer_bytes":0,"records":[]},"metadata":{"model_name":"BiLSTM","architecture":"BiLSTM","dataset":"ECG","metrics":{"accuracy":0.87},"epoch":null,"step":null,"date":"2025-01-02","quantization":null,"hyperparameters":{},"stage":null,"spellings":{"accuracy":"acc"},"other":{"summary":"linear(8\u21924)","input_size":8,"output_size":4},"sources":{"other.summary":{"where":"shapes","confidence":0.7},"other.input_size":{"where":"shapes","confidence":0.7},"other.output_size":{"where":"shapes","confidence":0.7},"model_name":{"where":"name","confidence":0.8},"dataset":{"where":"name","confidence":0.85},"date":{"where":"name","confidence":0.9},"metrics.accuracy":{"where":"name","confidence":0.9},"architecture":{"where":"name","confidence":0.8}}},"findings":[],"layers":[],"identity":null,"inspector_version":2}','[[{"name":"fc.weight","dtype":"float32","shape":[4,8],"bytes":128,"storage":"0","minimum":-2.2455577850341797,"maximum":1.6871134042739868,"norm":5.28712,"nan":0,"inf":0},{"name":"fc.bias","dtype":"float32","shape":[4],"bytes":16,"storage":"1","minimum":-1.5726652145385742,"maximum":-0.12324775755405426,"norm":1.71076,"nan":0,"inf":0}],[{"name":"fc","type":"linear","parameters":36,"bytes":144,"detail":{"in_features":8,"out_features":4,"bias":true}}]]');
INSERT INTO "contents" VALUES('a828a85d99195b855b17ef0a037c799c','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7','ok','zip','checkpoint',1903,2,'CNN','digits','CNN',3,NULL,NULL,NULL,NULL,32,' float32 ',1.79590090809804224969e+09,'{"path":"","status":"ok","container":"zip","kind":"checkpoint","sha256":"fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7","size_bytes":1903,"tensors":{"count":1,"parameters":32,"bytes":128,"dtypes":{"float32":32},"optimizer_bytes":0,"records":[]},"metadata":{"model_name":"CNN","architecture":"CNN","dataset":"digits","metrics":{"accuracy":0.9},"epoch":3,"step":null,"date":null,"quantization":null,"hyperparameters":{},"stage":null,"spellings":{"accuracy":"accuracy"},"other":{"summary":"linear(8\u21924)","input_size":8,"output_size":4},"sources":{"epoch":{"where":"content:epoch","confidence":1.0},"metrics.accuracy":{"where":"content:metrics.accuracy","confidence":1.0},"other.summary":{"where":"shapes","confidence":0.7},"other.input_size":{"where":"shapes","confidence":0.7},"other.output_size":{"where":"shapes","confidence":0.7},"model_name":{"where":"name","confidence":0.8},"dataset":{"where":"name","confidence":0.85},"architecture":{"where":"name","confidence":0.8}}},"findings":[],"layers":[],"identity":null,"inspector_version":2}','[[{"name":"model.fc.weight","dtype":"float32","shape":[4,8],"bytes":128,"storage":"0","minimum":-1.8821425437927246,"maximum":2.406978130340576,"norm":6.44177,"nan":0,"inf":0}],[{"name":"fc","type":"linear","parameters":32,"bytes":128,"detail":{"in_features":8,"out_features":4,"bias":false}}]]');
CREATE TABLE hyperparameters (
	content VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	number FLOAT, 
	text TEXT NOT NULL, 
	PRIMARY KEY (content, name), 
	FOREIGN KEY(content) REFERENCES contents ("key") ON DELETE CASCADE
);
CREATE TABLE metrics (
	content VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	value FLOAT NOT NULL, 
	PRIMARY KEY (content, name), 
	FOREIGN KEY(content) REFERENCES contents ("key") ON DELETE CASCADE
);
INSERT INTO "metrics" VALUES('d45c5b8c4ea9692ec5062f0e7461dae7','accuracy',0.87);
INSERT INTO "metrics" VALUES('a828a85d99195b855b17ef0a037c799c','accuracy',0.9);
CREATE TABLE outputs (
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	path BLOB NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	what VARCHAR(32) NOT NULL, 
	written_at FLOAT NOT NULL, 
	PRIMARY KEY (host, root, path)
);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130325F6D657461646174612E6A736F6E','dfecfc349cc8a273a6ff6ac5ebee935ae56d94d8d76fad6d3fa351af94044abf','sidecar',1.79590090809646534919e+09);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368335F6D657461646174612E6A736F6E','9e210a51b55f5745086d94cb86bac0b2ba70117ac5780e2d8c0e9e89f84e301a','sidecar',1.79590090809855151181e+09);
CREATE TABLE places (
	id INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	path BLOB NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	content VARCHAR(32), 
	sha256 VARCHAR(64), 
	dev BIGINT NOT NULL, 
	ino BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	ctime_ns BIGINT NOT NULL, 
	first_seen_at FLOAT NOT NULL, 
	state_since FLOAT NOT NULL, 
	shown TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (host, root, path), 
	FOREIGN KEY(content) REFERENCES contents ("key")
);
INSERT INTO "places" VALUES(1,'@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','ready','d45c5b8c4ea9692ec5062f0e7461dae7','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559',65024,1556486,2229,1795900906622650470,1795900906622650470,1.79590090809583878515e+09,1.79590090809583878515e+09,'BiLSTM_ECG_acc87_20250102.pth');
INSERT INTO "places" VALUES(2,'@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','ready','a828a85d99195b855b17ef0a037c799c','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7',65024,1556487,1903,1795900906622650470,1795900906622650470,1.79590090809804224969e+09,1.79590090809804224969e+09,'runs/CNN_digits_epoch3.pth');
CREATE TABLE roots (
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	root_id VARCHAR(64), 
	PRIMARY KEY (host, root)
);
INSERT INTO "roots" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73','6d839e87f91124cd06d2ce99b112ac26');
CREATE INDEX ix_places_content ON places (content);
CREATE INDEX ix_places_sha256 ON places (sha256);
CREATE INDEX places_by_file ON places (ino, size, mtime_ns);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
COMMIT;
